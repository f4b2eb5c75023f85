// Viterbi alignment of one utterance with a beam. (lstmp/gmm/viterbi.py aligns a batch without a beam.) Only the states
// within the beam are expanded, and log-likelihoods are computed only for their pdfs, once per frame and pdf.
#include "../guard.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr double kNever = -1e30;  // score of a state that no path has reached

struct Token {  // an active state of one frame
  int32_t state;
  int32_t previous;  // index of the predecessor token, -1 at the start
  int32_t arc;       // the arc from the predecessor, -1 at the start
  float acoustic;    // scaled acoustic score of this frame
};

// log Σₖ exp(bₖ + Aₖ · (x, x²)) over the Gaussians [first, last) of a pdf
float log_likelihood(const float* a, const float* b, int64_t first, int64_t last, const float* x, int64_t width,
                     std::vector<float>& joint) {
  const int64_t count = last - first;
  float top = kNever;
  for (int64_t k = 0; k < count; ++k) {
    const float* row = a + (first + k) * width;
    float sum = 0;
    for (int64_t d = 0; d < width; ++d) sum += row[d] * x[d];
    joint[k] = sum + b[first + k];
    top = joint[k] > top ? joint[k] : top;
  }
  float total = 0;
  for (int64_t k = 0; k < count; ++k) total += std::exp(joint[k] - top);
  return top + std::log(total);
}

}  // namespace

// Called from lstmp/gmm/beam_align.py. `offsets`, `a` and `b` are the mixtures as in lstmp/gmm/diag.py (`linear`). If `a`
// is null, `feats` holds the log-likelihoods [frames, num_pdfs], and `dim` is num_pdfs. The arcs that leave state s,
// including self-loops, are out_first[s] … out_first[s + 1] − 1.
//
// Returns 0 and fills `path` [frames] with the index of the arc into each frame's state (−1 at the start), and `result`
// with the score, its acoustic part, and the index of the final state of the path. Returns 1 if no path survives.
extern "C" int lstmp_align(int64_t frames, int64_t dim, const float* feats, int64_t num_pdfs, const int64_t* offsets,
                           const float* a, const float* b, const float* boost, float acoustic_scale, double beam,
                           int64_t num_states, const int64_t* pdf, const int64_t* out_first, const int32_t* out_to,
                           const float* out_weight, int64_t num_starts, const int64_t* start, const float* start_weight,
                           int64_t num_finals, const int64_t* final_state, const float* final_weight, int32_t* path,
                           double* result) try {
  int64_t max_gaussians = 1;
  for (int64_t p = 0; p < num_pdfs; ++p) max_gaussians = std::max(max_gaussians, offsets[p + 1] - offsets[p]);
  std::vector<float> joint(max_gaussians), x(2 * dim), emitted(num_pdfs);
  std::vector<int64_t> emitted_at(num_pdfs, -1);  // the frame that `emitted` was last computed for
  std::vector<double> score(num_states, kNever), next(num_states, kNever);
  std::vector<int32_t> token_of(num_states);  // index of a state's token, while the state is active
  std::vector<Token> tokens;                  // those of all frames
  std::vector<int64_t> first_token{0};        // index of the first token of each frame

  auto emit = [&](int64_t t, int32_t state) {  // scaled acoustic score; `expand(t)` must have been called
    const int64_t p = pdf[state];
    if (emitted_at[p] != t) {
      emitted_at[p] = t;
      const float loglike =
          a ? log_likelihood(a, b, offsets[p], offsets[p + 1], x.data(), 2 * dim, joint) : feats[t * dim + p];
      emitted[p] = acoustic_scale * (loglike + boost[p]);
    }
    return emitted[p];
  };
  auto expand = [&](int64_t t) {  // sets x to (x, x²) of frame t
    if (!a) return;
    for (int64_t d = 0; d < dim; ++d) {
      x[d] = feats[t * dim + d];
      x[dim + d] = x[d] * x[d];
    }
  };

  expand(0);
  for (int64_t k = 0; k < num_starts; ++k) {
    const int32_t s = static_cast<int32_t>(start[k]);
    if (score[s] == kNever) {
      tokens.push_back({s, -1, -1, 0});
    }
    score[s] = std::max(score[s], static_cast<double>(start_weight[k]));
  }
  for (Token& token : tokens) score[token.state] += token.acoustic = emit(0, token.state);
  first_token.push_back(tokens.size());

  for (int64_t t = 1; t < frames; ++t) {
    expand(t);
    const int64_t begin = first_token[t - 1], end = first_token[t];
    double best = kNever;
    for (int64_t i = begin; i < end; ++i) best = std::max(best, score[tokens[i].state]);
    const double cutoff = std::max(best - beam, kNever / 2);
    for (int64_t i = begin; i < end; ++i) {
      const int32_t s = tokens[i].state;
      const double path_score = score[s];
      score[s] = kNever;
      if (!(path_score >= cutoff)) continue;
      for (int64_t k = out_first[s]; k < out_first[s + 1]; ++k) {
        const int32_t to = out_to[k];
        const double total = path_score + out_weight[k];
        if (next[to] == kNever) {
          token_of[to] = static_cast<int32_t>(tokens.size());
          tokens.push_back({to, static_cast<int32_t>(i), static_cast<int32_t>(k), 0});
          next[to] = total;
        } else if (total > next[to]) {
          tokens[token_of[to]].previous = static_cast<int32_t>(i);
          tokens[token_of[to]].arc = static_cast<int32_t>(k);
          next[to] = total;
        }
      }
    }
    first_token.push_back(tokens.size());
    for (int64_t i = end; i < first_token[t + 1]; ++i)
      next[tokens[i].state] += tokens[i].acoustic = emit(t, tokens[i].state);
    std::swap(score, next);
  }

  double best = kNever;
  int64_t last = -1;
  for (int64_t k = 0; k < num_finals; ++k) {
    const double total = score[final_state[k]] + final_weight[k];
    if (score[final_state[k]] > kNever / 2 && total > best) {
      best = total;
      last = k;
    }
  }
  if (last < 0) return 1;
  int64_t token = -1;
  for (int64_t i = first_token[frames - 1]; i < first_token[frames]; ++i)
    if (tokens[i].state == final_state[last]) token = i;
  double acoustic = 0;
  for (int64_t t = frames - 1; t >= 0; --t, token = tokens[token].previous) {
    path[t] = tokens[token].arc;
    acoustic += tokens[token].acoustic;
  }
  result[0] = best;
  result[1] = acoustic;
  result[2] = static_cast<double>(last);
  return 0;
} LSTMP_GUARD(2)
