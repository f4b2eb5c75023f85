// Runs the fused kernels on numbers that are the same everywhere, and prints all results:
//   fused_main FRAMES STREAMS INPUTS CELLS RECS OTHERS STATES CLIP
// LSTMP_FACTORS names the struct of the factors: Fp32, the default, or Bf16Dot.
#include "nnet/kernels/fused.cpp"

#include <cstdio>
#include <vector>

#if !defined(LSTMP_FACTORS)
#define LSTMP_FACTORS Fp32
#endif

namespace {

using F = LSTMP_FACTORS;

uint32_t state = 1;
float drawn() {  // between −1 and 1
  state = state * 1664525 + 1013904223;
  return static_cast<float>(state >> 8) / (1 << 23) - 1;
}
std::vector<float> draw(int64_t n, float scale = 0.5f) {
  std::vector<float> out(n);
  for (float& x : out) x = scale * drawn();
  return out;
}
void print(const char* name, const std::vector<float>& x) {
  std::printf("%s", name);
  for (float value : x) std::printf(" %.9g", value);
  std::printf("\n");
}

}  // namespace

int main(int, char** argv) {
  int64_t s[7];
  for (int i = 0; i < 7; ++i) s[i] = std::atoll(argv[i + 1]);
  const int64_t t = s[0], n = s[1], in = s[2], c = s[3], r = s[4], p = s[5], states = s[6], width = r + p;
  auto x = draw(t * n * in, 2), r_0 = draw(n * r), c_0 = draw(n * c), w_x = draw(4 * c * in), w_r = draw(4 * c * r);
  auto bias = draw(4 * c), peep = draw(3 * c), w_rm = draw(r * c), w_pm = draw(p * c), d_y = draw(t * n * width), d_c = draw(n * c);
  std::vector<float> y(t * n * width), c_last(n * c), d_x(t * n * in), d_r0(n * r);
  const Layer l(s, true);
  Buffer<F::Stored::Number> gates;
  Buffer<float> cell;
  Buffer<F::Number> m;
  gates.zeros(l.all_rows() * 2 * l.blocks() * kTile), cell.zeros((t + 1) * l.rows() * l.blocks() * kSums);
  m.zeros(l.all_rows() * l.depth_cells() * kTile);
  const float clip = std::atof(argv[8]);
  forward<F>(s, x.data(), r_0.data(), c_0.data(), w_x.data(), w_r.data(), bias.data(), peep.data(), w_rm.data(),
                     w_pm.data(), clip, y.data(), c_last.data(), gates.data, cell.data, m.data);
  print("y", y), print("c_last", c_last);
  std::vector<float> d_w_x(w_x.size()), d_w_r(w_r.size()), d_bias(4 * c), d_peep(3 * c), d_w_rm(r * c), d_w_pm(p * c);
  backward<F>(s, x.data(), r_0.data(), w_x.data(), w_r.data(), peep.data(), w_rm.data(), w_pm.data(), clip, y.data(),
                      gates.data, cell.data, m.data, d_y.data(), d_c.data(), d_x.data(), d_r0.data(), d_w_x.data(),
                      d_w_r.data(), d_bias.data(), d_peep.data(), d_w_rm.data(), d_w_pm.data());
  print("d_x", d_x), print("d_r0", d_r0), print("d_c", d_c), print("d_w_x", d_w_x), print("d_w_r", d_w_r), print("d_bias", d_bias);
  print("d_peep", d_peep), print("d_w_rm", d_w_rm), print("d_w_pm", d_w_pm);
  auto w = draw(states * width), b = draw(states);
  std::vector<int64_t> targets(t * n);
  for (int64_t i = 0; i < t * n; ++i) targets[i] = i % 7 ? i % states : -1;
  std::vector<float> o_y(y.size()), o_w(w.size()), o_b(states);
  double loss;
  int64_t hits;
  output<F>(t * n, width, states, y.data(), w.data(), b.data(), targets.data(), 0.1f, o_y.data(), o_w.data(), o_b.data(), &loss,
                    &hits);
  print("o_y", o_y), print("o_w", o_w), print("o_b", o_b), print("loss", {static_cast<float>(loss), static_cast<float>(hits)});
}
