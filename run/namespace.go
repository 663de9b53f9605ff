package run

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
)

// MaxNamespacePart bounds each part of a namespace, in bytes.
const MaxNamespacePart = 255

// Namespace says who a run belongs to. Each part is up to MaxNamespacePart
// bytes of UTF-8 without '/' and control characters, and may be empty.
type Namespace struct {
	Tenant string `json:"tenant"`
	App    string `json:"app"`
	Agent  string `json:"agent"`
}

// String returns "tenant/app/agent"; for a valid namespace ParseNamespace
// reads it back.
func (n Namespace) String() string { return n.Tenant + "/" + n.App + "/" + n.Agent }

// ParseNamespace reads "tenant/app/agent": exactly three parts, each of which
// may be empty. Anything else is an ErrInvalidNamespace.
func ParseNamespace(s string) (Namespace, error) {
	tenant, rest, ok1 := strings.Cut(s, "/")
	app, agent, ok2 := strings.Cut(rest, "/")
	if !ok1 || !ok2 {
		return Namespace{}, fmt.Errorf("%w: %.40q is not tenant/app/agent", ErrInvalidNamespace, s)
	}
	n := Namespace{Tenant: tenant, App: app, Agent: agent}
	if err := n.Validate(); err != nil {
		return Namespace{}, err
	}
	return n, nil
}

// Validate reports what is wrong with n, as an ErrInvalidNamespace.
func (n Namespace) Validate() error {
	for _, p := range [...]struct{ name, text string }{
		{"tenant", n.Tenant}, {"app", n.App}, {"agent", n.Agent},
	} {
		if reason := checkPart(p.text); reason != "" {
			return fmt.Errorf("%w: %s: %s", ErrInvalidNamespace, p.name, reason)
		}
	}
	return nil
}

func checkPart(s string) string {
	if reason := checkText(s, MaxNamespacePart); reason != "" {
		return reason
	}
	if strings.ContainsRune(s, '/') {
		return "contains '/'"
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "contains a control character"
	}
	return ""
}

// The domains of derived IDs. Neither is a prefix of the other, so no space
// and no name share what is hashed. Stored data depends on them: never change.
const (
	spaceDomain = "inmem/run/space\x00"
	nameDomain  = "inmem/run/name\x00"
)

// SpaceID returns the ID of the namespace's space: always the same for the
// same namespace, on every machine.
func (n Namespace) SpaceID() ID { return n.derive(spaceDomain) }

// DeriveID returns the ID that belongs to a name within the namespace, for
// callers who need the same run ID for the same name, such as an import that
// may be repeated. It is never a SpaceID.
func (n Namespace) DeriveID(name string) ID { return n.derive(nameDomain, name) }

// derive returns the UUID version 8 of a SHA-256 of the domain, the parts of
// the namespace and more, each but the domain led by its length (uvarint), so
// that different lists never run together into equal bytes.
func (n Namespace) derive(domain string, more ...string) ID {
	b := []byte(domain)
	for _, s := range append([]string{n.Tenant, n.App, n.Agent}, more...) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	id := ID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8: the bits mean what their maker says
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}
