package report

// method says how the figures came about.
func (p *page) method() {
	p.line("## Method\n")
	p.line("%s", methodText)
}

const methodText = `- **One process for each store and class**, which is started with the harness and holds its data set through all rounds. Before anything is timed it must pass a test of correctness (` + "`store.Check`" + `). The load, in commits of 100 keys, is not timed.
- **Rounds are interleaved**: each cell is done by one store after the other, in an order that is shuffled anew in each round, so that what else the machine does meets all alike. Before a cell the store that was at work last, and the one that is next, come to rest: less than 5 % of a processor over 200 ms, or 5 s. What a store does in the background during its cell is its cost.
- **Every cell has a warm-up** of a quarter of its time. Values are random bytes, keys are made before. Every get returns bytes that belong to the caller; its length is checked, and scans are checked to be in order and complete. Of each key and value that is read every cache line is touched: a store may lend memory that is mapped from a file.
- **Throughput**: each caller begins an operation when the one before has ended; what ends within the time counts. Where an operation takes a caller less than 20 µs in the warm-up, one in 16 is timed, otherwise each. Service times are shown as they were, and corrected for coordinated omission as by RecordCorrectedValue of HdrHistogram; the expected interval is the mean time of a caller between two operations in this cell, and no less than 1 µs. Callers beyond the number of processors take turns on them, also where the store makes none wait: an operation that is under way when the turn ends takes as long as the turns of all others, and the correction adds those that would have come meanwhile. What callers wait for under a load that the store can bear, the latency at a fixed rate tells.
- **Latency**: operations become due at a fixed rate, every 200 µs those of the 200 µs before, and whichever caller is free takes the next. Time counts from when it was due. What has not been begun when the cell's time has passed once more is counted with the time that it has waited until then. The percentiles are those of all rounds together.
- **Transactions** read two keys of a run and write two others; what they read must not have changed at the commit.
- **YCSB A–F** are the core workloads (update heavy, read mostly, read only, read latest, short ranges, read-modify-write), zipfian and scrambled with the constant 0.99, on the keys and values above instead of records of 1 KB. Scans stay within a run.
- **Agents**: 1,000 conversations at the same time, each in a fresh run. Before each turn an agent reads back all its messages, then it writes the new ones and a record of its state in one commit. It is done in whole passes over all conversations until the time of a cell is over, without a warm-up. Some runs are then compared byte for byte.
- **Reopening**: commits of one key each by 64 goroutines, then Close or SIGKILL (of the store's server, too, if it has one) while the commits go on; each round opens a fresh copy of the files, which the page cache has.
- **Runs that are on disk** are of ours alone: a process fills a store with ended runs and closes it; another one opens it, or reads it with a budget of memory, and is looked at every 5 ms for what it has resident. The page cache has the files.
- **CPU time** is of the process, user and system, and of its server; the collector's part is an estimate of the Go runtime.
`
