// LSTMP layers over a whole chunk (forward.h, backward.h), and the output layer with its cross entropy (output.h), forward and
// backward: float32 on AVX-512, bfloat16 or sums of two or three of them on AMX (matrices.h). The element-wise part of each
// frame is applied to a product's tiles while they are in the first cache. lstmp/nnet/kernels/fused.py calls this.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "../../guard.h"
#include "backward.h"
#include "forward.h"
#include "output.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Bit 0: float32 on AVX-512; bit 1: those of bfloat16 on AMX, if the processor has it and the system lets the process use it.
extern "C" int lstmp_fused_ready() {
  static const int ready = [] {
#if defined(LSTMP_AMX)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return 3;
#endif
    return 1;
  }();
  return ready;
}

#define LSTMP_FUSED(kind, F)                                                                                              \
  extern "C" void lstmp_forward_##kind(                                                                                   \
      const int64_t* sizes, const float* x, const float* r_0, float* c_0, const float* w_x, const float* w_r,             \
      const float* bias, const float* peep, const float* w_rm, const float* w_pm, float clip, float* y, float* c_last,    \
      F::Kept::Number* gates, float* cell, F::Number* m) try {                                                            \
    forward<F>(sizes, x, r_0, c_0, w_x, w_r, bias, peep, w_rm, w_pm, clip, y, c_last, gates, cell, m);                    \
  } LSTMP_GUARD()                                                                                                         \
  extern "C" void lstmp_backward_##kind(                                                                                  \
      const int64_t* sizes, const float* x, const float* r_0, const float* w_x, const float* w_r, const float* peep,      \
      const float* w_rm, const float* w_pm, float clip, const float* y, F::Kept::Number* gates, const float* cell,        \
      F::Number* m, const float* d_y, float* d_c, float* d_x, float* d_r0, float* d_w_x, float* d_w_r, float* d_bias,     \
      float* d_peep, float* d_w_rm, float* d_w_pm) try {                                                                  \
    backward<F>(sizes, x, r_0, w_x, w_r, peep, w_rm, w_pm, clip, y, gates, cell, m, d_y, d_c, d_x, d_r0, d_w_x, d_w_r,    \
                d_bias, d_peep, d_w_rm, d_w_pm);                                                                          \
  } LSTMP_GUARD()                                                                                                         \
  extern "C" void lstmp_output_##kind(                                                                                    \
      int64_t rows, int64_t width, int64_t states, const float* y, const float* w, const float* bias,                     \
      const int64_t* targets, float scale, float* d_y, float* d_w, float* d_bias, double* loss, int64_t* hits) try {      \
    output<F>(rows, width, states, y, w, bias, targets, scale, d_y, d_w, d_bias, loss, hits);                             \
  } LSTMP_GUARD()

LSTMP_FUSED(fp32, Single)
#if defined(LSTMP_AMX)
LSTMP_FUSED(bf16, Rounded)
LSTMP_FUSED(bf16x3, Halves)
LSTMP_FUSED(bf16x6, Thirds)
#endif

#else  // neither here, or a compiler that does not know them

extern "C" int lstmp_fused_ready() { return 0; }

#endif
