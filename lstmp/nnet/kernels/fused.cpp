// The forward and backward pass of LSTMP layers over a whole chunk (forward.h, backward.h) and of the output layer with its
// cross entropy (output.h), in each precision of matrices.h: fp32 on AVX-512, AVX2 and NEON; bf16 on AMX, AVX512_BF16 and ARM's
// BF16; bf16x3 and bf16x6 on AMX. The element-wise part of each frame is applied to the tiles of a product while they are in the L1 cache.
// lstmp/nnet/kernels/fused.py calls these functions.
#include "vector.h"

#if defined(LSTMP_VECTORS)
#include "../../guard.h"
#include "backward.h"
#include "forward.h"
#include "output.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Which functions work here. Bit 0: fp32; bit 1: bf16; bit 2: bf16x3 and bf16x6. With AMX, those of bits 1 and 2 work only if
// the system lets the process use it.
extern "C" int lstmp_fused_ready() {
  static const int ready = [] {
#if defined(LSTMP_AMX)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return 7;
    return 1;
#elif defined(LSTMP_BF16)
    return 3;
#else
    return 1;
#endif
  }();
  return ready;
}

#define LSTMP_FUSED(precision, F)                                                                                         \
  extern "C" void lstmp_forward_##precision(                                                                              \
      const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x, const float* w_r,             \
      const float* bias, const float* peep, const float* w_rm, const float* w_pm, float clip, float* y, float* c_last,    \
      F::Stored::Number* gates, float* cell, F::Number* m) try {                                                          \
    forward<F>(sizes, x, r_0, c_0, w_x, w_r, bias, peep, w_rm, w_pm, clip, y, c_last, gates, cell, m);                    \
  } LSTMP_GUARD()                                                                                                         \
  extern "C" void lstmp_backward_##precision(                                                                             \
      const int64_t* sizes, const float* x, const float* r_0, const float* w_x, const float* w_r, const float* peep,      \
      const float* w_rm, const float* w_pm, float clip, const float* y, F::Stored::Number* gates, const float* cell,      \
      F::Number* m, const float* d_y, float* d_c, float* d_x, float* d_r0, float* d_w_x, float* d_w_r, float* d_bias,     \
      float* d_peep, float* d_w_rm, float* d_w_pm) try {                                                                  \
    backward<F>(sizes, x, r_0, w_x, w_r, peep, w_rm, w_pm, clip, y, gates, cell, m, d_y, d_c, d_x, d_r0, d_w_x, d_w_r,    \
                d_bias, d_peep, d_w_rm, d_w_pm);                                                                          \
  } LSTMP_GUARD()                                                                                                         \
  extern "C" void lstmp_output_##precision(                                                                               \
      int64_t rows, int64_t width, int64_t states, const float* y, const float* w, const float* bias,                     \
      const int64_t* targets, float scale, float* d_y, float* d_w, float* d_bias, double* loss, int64_t* hits) try {      \
    output<F>(rows, width, states, y, w, bias, targets, scale, d_y, d_w, d_bias, loss, hits);                             \
  } LSTMP_GUARD()

LSTMP_FUSED(fp32, Fp32)
#if defined(LSTMP_AMX)
LSTMP_FUSED(bf16, Amx<1>)
LSTMP_FUSED(bf16x3, Amx<2>)
LSTMP_FUSED(bf16x6, Amx<3>)
#elif defined(LSTMP_BF16)
LSTMP_FUSED(bf16, Bf16Dot)
#endif

#else  // the processor has none of these, or the compiler does not know them

extern "C" int lstmp_fused_ready() { return 0; }

#endif
