//go:build !purego

#include "textflag.h"

// Eight words of ones, then eight of zeros. The mask of a tail of r elements
// begins 4r bytes before the zeros.
DATA tail<>+0(SB)/8, $-1
DATA tail<>+8(SB)/8, $-1
DATA tail<>+16(SB)/8, $-1
DATA tail<>+24(SB)/8, $-1
DATA tail<>+32(SB)/8, $0
DATA tail<>+40(SB)/8, $0
DATA tail<>+48(SB)/8, $0
DATA tail<>+56(SB)/8, $0
GLOBL tail<>(SB), RODATA|NOPTR, $64

// DI dst, SI query, DX row, R8 list, CX rows to go, BX dim,
// R9 dim in steps of 32, R10 in steps of 8, R11 the rest and Y15 its mask,
// R15 how many elements of a row are asked for ahead.
#define ARGUMENTS \
	MOVQ dst+0(FP), DI;       \
	MOVQ query+8(FP), SI;     \
	MOVQ row+16(FP), DX;      \
	MOVQ list+24(FP), R8;     \
	MOVQ n+32(FP), CX;        \
	MOVQ dim+40(FP), BX;      \
	MOVQ BX, R9;              \
	ANDQ $-32, R9;            \
	MOVQ BX, R10;             \
	ANDQ $-8, R10;            \
	MOVQ BX, R11;             \
	ANDQ $7, R11;             \
	LEAQ tail<>+32(SB), AX;   \
	SHLQ $2, R11;             \
	SUBQ R11, AX;             \
	VMOVUPS (AX), Y15;        \
	MOVQ $256, R15;           \
	CMPQ BX, R15;             \
	CMOVQLT BX, R15

// The next row of the list, while the one after the next is asked for.
#define ROW(contiguous, ahead, begin) \
	TESTQ R8, R8;        \
	JZ contiguous;       \
	MOVQ (R8), DX;       \
	CMPQ CX, $2;         \
	JLE begin;           \
	MOVQ 48(R8), R12;    \
	MOVQ R15, R13;       \
ahead:                       \
	PREFETCHT0 (R12);    \
	ADDQ $64, R12;       \
	SUBQ $16, R13;       \
	JGT ahead;           \
begin:                       \
	ADDQ $24, R8;        \
contiguous:                  \
	VXORPS Y0, Y0, Y0;   \
	VXORPS Y1, Y1, Y1;   \
	VXORPS Y2, Y2, Y2;   \
	VXORPS Y3, Y3, Y3;   \
	XORQ AX, AX

// The sum of Y0 to Y3 goes to dst.
#define SUM \
	VADDPS Y1, Y0, Y0;          \
	VADDPS Y3, Y2, Y2;          \
	VADDPS Y2, Y0, Y0;          \
	VEXTRACTF128 $1, Y0, X1;    \
	VADDPS X1, X0, X0;          \
	VMOVHLPS X0, X0, X1;        \
	VADDPS X1, X0, X0;          \
	VMOVSHDUP X0, X1;           \
	VADDSS X1, X0, X0;          \
	VMOVSS X0, (DI);            \
	ADDQ $4, DI;                \
	LEAQ (DX)(BX*4), DX

// func dotsAVX2(dst, query, row *float32, list *[]float32, n, dim int)
TEXT ·dotsAVX2(SB), NOSPLIT, $0-48
	ARGUMENTS

row:
	ROW(contiguous, ahead, begin)
	CMPQ AX, R9
	JGE  by8

by32:
	VMOVUPS     (SI)(AX*4), Y4
	VMOVUPS     32(SI)(AX*4), Y5
	VMOVUPS     64(SI)(AX*4), Y6
	VMOVUPS     96(SI)(AX*4), Y7
	VFMADD231PS (DX)(AX*4), Y4, Y0
	VFMADD231PS 32(DX)(AX*4), Y5, Y1
	VFMADD231PS 64(DX)(AX*4), Y6, Y2
	VFMADD231PS 96(DX)(AX*4), Y7, Y3
	ADDQ        $32, AX
	CMPQ        AX, R9
	JLT         by32

by8:
	CMPQ        AX, R10
	JGE         rest
	VMOVUPS     (SI)(AX*4), Y4
	VFMADD231PS (DX)(AX*4), Y4, Y0
	ADDQ        $8, AX
	JMP         by8

rest:
	TESTQ       R11, R11
	JZ          sum
	VMASKMOVPS  (SI)(AX*4), Y15, Y4
	VMASKMOVPS  (DX)(AX*4), Y15, Y5
	VFMADD231PS Y4, Y5, Y1

sum:
	SUM
	DECQ CX
	JNZ  row
	VZEROUPPER
	RET

// func squaredEuclideansAVX2(dst, query, row *float32, list *[]float32, n, dim int)
TEXT ·squaredEuclideansAVX2(SB), NOSPLIT, $0-48
	ARGUMENTS

row:
	ROW(contiguous, ahead, begin)
	CMPQ AX, R9
	JGE  by8

by32:
	VMOVUPS     (SI)(AX*4), Y4
	VMOVUPS     32(SI)(AX*4), Y5
	VMOVUPS     64(SI)(AX*4), Y6
	VMOVUPS     96(SI)(AX*4), Y7
	VSUBPS      (DX)(AX*4), Y4, Y4
	VSUBPS      32(DX)(AX*4), Y5, Y5
	VSUBPS      64(DX)(AX*4), Y6, Y6
	VSUBPS      96(DX)(AX*4), Y7, Y7
	VFMADD231PS Y4, Y4, Y0
	VFMADD231PS Y5, Y5, Y1
	VFMADD231PS Y6, Y6, Y2
	VFMADD231PS Y7, Y7, Y3
	ADDQ        $32, AX
	CMPQ        AX, R9
	JLT         by32

by8:
	CMPQ        AX, R10
	JGE         rest
	VMOVUPS     (SI)(AX*4), Y4
	VSUBPS      (DX)(AX*4), Y4, Y4
	VFMADD231PS Y4, Y4, Y0
	ADDQ        $8, AX
	JMP         by8

rest:
	TESTQ       R11, R11
	JZ          sum
	VMASKMOVPS  (SI)(AX*4), Y15, Y4
	VMASKMOVPS  (DX)(AX*4), Y15, Y5
	VSUBPS      Y5, Y4, Y4
	VFMADD231PS Y4, Y4, Y1

sum:
	SUM
	DECQ CX
	JNZ  row
	VZEROUPPER
	RET

// func dotsInt8AVX2(dst *int32, query, rows *int8, ids *uint32, n, dim int)
TEXT ·dotsInt8AVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ query+8(FP), SI
	MOVQ rows+16(FP), DX
	MOVQ ids+24(FP), R8
	MOVQ n+32(FP), CX
	MOVQ dim+40(FP), BX
	MOVQ DX, R9          // the first row
	MOVQ BX, R10
	ANDQ $-16, R10
	MOVQ BX, R11
	ANDQ $-32, R11

row:
	TESTQ R8, R8
	JZ    contiguous
	MOVL  (R8), DX
	IMULQ BX, DX
	ADDQ  R9, DX
	CMPQ  CX, $2
	JLE   begin
	MOVL  8(R8), R12     // the row after the next
	IMULQ BX, R12
	ADDQ  R9, R12
	MOVQ  BX, R13

ahead:
	PREFETCHT0 (R12)
	ADDQ $64, R12
	SUBQ $64, R13
	JGT  ahead

begin:
	ADDQ $4, R8

contiguous:
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	XORQ  AX, AX
	CMPQ  AX, R11
	JGE   by16

by32:
	VPMOVSXBW (SI)(AX*1), Y2
	VPMOVSXBW (DX)(AX*1), Y3
	VPMOVSXBW 16(SI)(AX*1), Y4
	VPMOVSXBW 16(DX)(AX*1), Y5
	VPMADDWD  Y2, Y3, Y3
	VPMADDWD  Y4, Y5, Y5
	VPADDD    Y3, Y0, Y0
	VPADDD    Y5, Y1, Y1
	ADDQ      $32, AX
	CMPQ      AX, R11
	JLT       by32

by16:
	CMPQ      AX, R10
	JGE       sum
	VPMOVSXBW (SI)(AX*1), Y2
	VPMOVSXBW (DX)(AX*1), Y3
	VPMADDWD  Y2, Y3, Y3
	VPADDD    Y3, Y0, Y0

sum:
	VPADDD       Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4e, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xb1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, (DI)
	ADDQ         $4, DI
	ADDQ         BX, DX
	DECQ         CX
	JNZ          row
	VZEROUPPER
	RET
