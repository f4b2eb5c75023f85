// Forward-backward over the denominator graph of lattice-free MMI. (lstmp/nnet/mmi/plain.py is the reference.)
//
// A block of sequences is computed together: each has one lane of a vector, so that an arc is one vector multiplication and
// addition for all of them, forward and backward, and its indices are read once. Probabilities are float32. In each frame the
// outputs are reduced by their maximum, and the forward probabilities are scaled to the sum 1; the logarithms of both are
// added in float64.
//
// A state emits `pdf` when it is entered by an arc from another phone, and `loop_pdf` by its self-loop, which is not among the
// arcs. With the leaky HMM, the probability of state j after a frame grows by leaky · initial[j]. What this adds to the next
// frame is leaky · entry, where entry[d] = Σ initial[i] · prob(i → d) over the arcs into d, and leaky · loop_entry, where
// loop_entry[d] = initial[d] · stay[d], so it costs no pass over the states.
#include "../../exponential.h"
#include "../../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace {

constexpr int64_t kTile = 64;          // pdfs that are transposed together, in the first cache
constexpr float kTolerance = 1e-3f;  // of a sum of posteriors

// Arithmetic with denormal numbers is slow on x86, and they do not matter here.
class FlushDenormals {
#if defined(__SSE2__)
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

// eˣ for x ≤ 0; 0 below -80.
inline float exp_or_zero(float x) { return x < -80.0f ? 0.0f : exp_(x); }

// The maximum of `size` numbers; NaN if one is NaN. Sixteen maxima side by side, which the compiler makes one vector.
float maximum(const float* x, int64_t size) {
  float top[16], rest[16];
  int32_t bad[16] = {};
  std::fill(top, top + 16, -std::numeric_limits<float>::infinity());
  const auto compare = [&](const float* y) {
    for (int i = 0; i < 16; ++i) {
      top[i] = y[i] > top[i] ? y[i] : top[i];
      bad[i] |= y[i] != y[i];
    }
  };
  int64_t p = 0;
  for (; p + 16 <= size; p += 16) compare(x + p);
  std::copy(top, top + 16, rest);
  std::copy(x + p, x + size, rest);
  compare(rest);
  const bool any = std::any_of(bad, bad + 16, [](int32_t b) { return b != 0; });
  return any ? std::numeric_limits<float>::quiet_NaN() : *std::max_element(top, top + 16);
}

// The arcs into the states, or those out of them. Row r has the arcs of state[r], first[r] … first[r + 1] - 1, whose other
// ends are `other`. Rows are sorted by their length, so that the processor predicts where the loop over a row ends.
struct Arcs {
  const int32_t *state, *first, *other;
  const float* prob;
};

struct Graph {
  int64_t states, pdfs;
  const int32_t *pdf, *loop_pdf;            // [states]
  const float *stay, *entry, *loop_entry;  // [states]
  Arcs in, out;
  float leaky;
};

struct Batch {
  int64_t sequences;              // N
  const float* scores;            // [T, N, pdfs]
  const int64_t *begin, *length;  // [N]
  float factor, decay;            // gradient = factor · posteriors + decay · scores
  float* gradient;                // [T, N, pdfs]
  double *log_prob, *squares;     // [N]; squares: sum of the squared scores
};

typedef float Lanes8 __attribute__((vector_size(32)));
typedef float Lanes16 __attribute__((vector_size(64)));

template <class Lanes>
class Block {
  static constexpr int L = sizeof(Lanes) / sizeof(float);

 public:
  // Computes `count` ≤ L sequences of the batch, whose indices are in `which`, the longest first.
  Block(const Graph& graph, const Batch& batch, const int64_t* which, int count)
      : g_(graph), b_(batch), which_(which), count_(count), frames_(batch.length[which[0]]),
        alpha_(new Lanes[(frames_ + 1) * graph.states]), emitted_(new Lanes[frames_ * graph.pdfs]),
        inverse_(frames_ + 1) {}

  void run() {
    for (int n = 0; n < count_; ++n) b_.log_prob[which_[n]] = b_.squares[which_[n]] = 0;
    for (int64_t t = 1; t <= frames_; ++t) {
      emit(t);
      forward(t);
    }
    backward();
  }

 private:
  bool active(int n, int64_t t) const { return t <= b_.length[which_[n]]; }  // frames are counted from 1
  int64_t row(int n, int64_t t) const { return ((b_.begin[which_[n]] + t - 1) * b_.sequences + which_[n]) * g_.pdfs; }

  // Sets emitted_ of frame t to exp(score - maximum); adds the maximum to the log-probability.
  void emit(int64_t t) {
    const float* x[L];
    float top[L];
    for (int n = 0; n < count_; ++n) {
      x[n] = active(n, t) ? b_.scores + row(n, t) : nullptr;
      if (!x[n]) continue;
      top[n] = maximum(x[n], g_.pdfs);
      b_.log_prob[which_[n]] += top[n];
      if (!std::isfinite(top[n])) x[n] = nullptr;
    }
    for (int64_t begin = 0; begin < g_.pdfs; begin += kTile) {
      const int64_t size = std::min(kTile, g_.pdfs - begin);
      Lanes* out = &emitted_[(t - 1) * g_.pdfs + begin];
      float e[kTile];
      for (int n = 0; n < L; ++n) {
        if (n < count_ && x[n]) {
          for (int64_t p = 0; p < size; ++p) e[p] = exp_or_zero(x[n][begin + p] - top[n]);
        } else {
          std::memset(e, 0, sizeof(e));
        }
        for (int64_t p = 0; p < size; ++p) out[p][n] = e[p];
      }
    }
  }

  void forward(int64_t t) {
    const Lanes* before = &alpha_[(t - 1) * g_.states];
    const Lanes* emitted = &emitted_[(t - 1) * g_.pdfs];
    Lanes* now = &alpha_[t * g_.states];
    const Lanes scale = inverse_[t - 1];
    Lanes sum = {};
    for (int64_t r = 0; r < g_.states; ++r) {
      const int32_t d = g_.in.state[r];
      Lanes into = {};
      if (t > 1) {
        for (int32_t k = g_.in.first[r]; k < g_.in.first[r + 1]; ++k) into += g_.in.prob[k] * before[g_.in.other[k]];
        into = into * scale + g_.leaky * g_.entry[d];
      } else {
        into += g_.entry[d];
      }
      Lanes staying;
      stayed(t, d, staying);
      sum += now[d] = into * emitted[g_.pdf[d]] + staying;
    }
    Lanes inverse = {};
    for (int n = 0; n < count_; ++n) {
      if (!active(n, t)) continue;
      inverse[n] = sum[n] > 0 ? 1 / sum[n] : 0;
      b_.log_prob[which_[n]] += std::log(static_cast<double>(sum[n]));
    }
    inverse_[t] = inverse;
  }

  // Sets `out` to the part of alpha_ of state d after frame t that was in the state before. (A vector as the value of a
  // function would depend on what the processor has.)
  void stayed(int64_t t, int64_t d, Lanes& out) const {
    const Lanes& repeated = emitted_[(t - 1) * g_.pdfs + g_.loop_pdf[d]];
    if (t == 1) {
      out = g_.loop_entry[d] * repeated;
    } else {
      out = (g_.stay[d] * alpha_[(t - 1) * g_.states + d] * inverse_[t - 1] + g_.leaky * g_.loop_entry[d]) * repeated;
    }
  }

  void backward() {
    std::vector<Lanes> beta(g_.states), ahead(g_.states), stay_ahead(g_.states), of_pdf(g_.pdfs);
    for (int64_t t = frames_; t >= 1; --t) {
      Lanes begins = {};  // 1 in the lanes whose last frame is t
      for (int n = 0; n < count_; ++n) begins[n] = b_.length[which_[n]] == t;
      const Lanes* alpha = &alpha_[t * g_.states];
      const Lanes* emitted = &emitted_[(t - 1) * g_.pdfs];
      const Lanes scale = inverse_[t];
      Lanes leaked = {}, sum = {};
      std::memset(of_pdf.data(), 0, g_.pdfs * sizeof(Lanes));
      for (int64_t d = 0; d < g_.states; ++d) {
        const Lanes scaled = (beta[d] + begins) * scale;
        const Lanes posterior = alpha[d] * scaled;
        Lanes staying;
        stayed(t, d, staying);
        staying *= scaled;
        sum += posterior;
        of_pdf[g_.pdf[d]] += posterior - staying;
        of_pdf[g_.loop_pdf[d]] += staying;
        ahead[d] = emitted[g_.pdf[d]] * scaled;
        stay_ahead[d] = emitted[g_.loop_pdf[d]] * scaled;
        leaked += g_.entry[d] * ahead[d] + g_.loop_entry[d] * stay_ahead[d];
      }
      check(t, sum);
      write(t, of_pdf);
      if (t == 1) break;
      leaked *= g_.leaky;
      for (int64_t r = 0; r < g_.states; ++r) {
        const int32_t s = g_.out.state[r];
        Lanes out = leaked + g_.stay[s] * stay_ahead[s];
        for (int32_t k = g_.out.first[r]; k < g_.out.first[r + 1]; ++k) out += g_.out.prob[k] * ahead[g_.out.other[k]];
        beta[s] = out;
      }
    }
  }

  // The posteriors of a frame sum to 1, except if probabilities that the forward pass has rounded to 0 would have mattered.
  void check(int64_t t, const Lanes& sum) {
    for (int n = 0; n < count_; ++n) {
      if (active(n, t) && !(std::fabs(sum[n] - 1) < kTolerance)) {
        b_.log_prob[which_[n]] = std::numeric_limits<double>::quiet_NaN();
      }
    }
  }

  // Writes the gradient of frame t, and adds to the squares. Scores that are not finite have no part in the regularization.
  void write(int64_t t, const std::vector<Lanes>& of_pdf) {
    double squares[L][8] = {};
    float posterior[kTile], y[kTile] = {};
    for (int64_t begin = 0; begin < g_.pdfs; begin += kTile) {
      const int64_t size = std::min(kTile, g_.pdfs - begin);
      for (int n = 0; n < count_; ++n) {
        if (!active(n, t)) continue;
        const float* x = b_.scores + row(n, t) + begin;
        float* out = b_.gradient + row(n, t) + begin;
        for (int64_t p = 0; p < size; ++p) posterior[p] = of_pdf[begin + p][n];
        for (int64_t p = 0; p < size; ++p) y[p] = x[p] - x[p] == 0 ? x[p] : 0.0f;
        for (int64_t p = size; p < kTile; ++p) y[p] = 0;
        for (int64_t p = 0; p < kTile; p += 8)
          for (int i = 0; i < 8; ++i) squares[n][i] += static_cast<double>(y[p + i]) * y[p + i];
        for (int64_t p = 0; p < size; ++p) out[p] = posterior[p] * b_.factor + y[p] * b_.decay;
      }
    }
    for (int n = 0; n < count_; ++n) b_.squares[which_[n]] += std::accumulate(squares[n], squares[n] + 8, 0.0);
  }

  const Graph& g_;
  const Batch& b_;
  const int64_t* which_;
  const int count_;
  const int64_t frames_;
  const std::unique_ptr<Lanes[]> alpha_;    // [frames + 1, states], not scaled; the first frame is not used
  const std::unique_ptr<Lanes[]> emitted_;  // [frames, pdfs]
  std::vector<Lanes> inverse_;              // [frames + 1], 1 / sum of alpha_
};

}  // namespace

// Called from lstmp/nnet/mmi/native.py. Computes the `count` ≤ 16 sequences `which`, the longest first: their
// log-probabilities, NaN or -inf for a sequence that has none in float32, the sums of their squared scores, and the gradient
// in their rows. Arrays are described in Arcs, Graph and Batch. Returns 0.
extern "C" int lstmp_mmi(int64_t states, int64_t pdfs, const int32_t* pdf, const int32_t* loop_pdf, const float* stay,
                         const float* entry, const float* loop_entry, const int32_t* in_state, const int32_t* in_first,
                         const int32_t* in_source, const float* in_prob, const int32_t* out_state, const int32_t* out_first,
                         const int32_t* out_target, const float* out_prob, float leaky, int64_t sequences,
                         const float* scores, const int64_t* begin, const int64_t* length, float factor, float decay,
                         float* gradient, double* log_prob, double* squares, const int64_t* which, int64_t count) try {
  [[maybe_unused]] const FlushDenormals flush;
  const Arcs in{in_state, in_first, in_source, in_prob}, out{out_state, out_first, out_target, out_prob};
  const Graph graph{states, pdfs, pdf, loop_pdf, stay, entry, loop_entry, in, out, leaky};
  const Batch batch{sequences, scores, begin, length, factor, decay, gradient, log_prob, squares};
  if (count > 8) {
    Block<Lanes16>(graph, batch, which, static_cast<int>(count)).run();
  } else {
    Block<Lanes8>(graph, batch, which, static_cast<int>(count)).run();
  }
  return 0;
} LSTMP_GUARD(1)
