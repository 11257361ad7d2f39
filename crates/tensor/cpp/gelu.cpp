// GELU by its tanh formula (arXiv 1606.08415), forwards and backwards, on the CPU in f32. libtorch's own spends a tenth of an
// update of a small network in a tanh of the last bit; x sigmoid(2 u) is the same function with one fast exponential.
#include "guarded.h"
#include <ATen/ATen.h>
#include <ATen/TensorIterator.h>
#include <cstring>
#include <torch/csrc/autograd/custom_function.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace {
constexpr float SLOPE = 0.7978845608028654f; // sqrt(2 / pi)
constexpr float CUBIC = 0.044715f;

// exp(x) to 2 units in the last place, for x in [-87, 88]: a power of two, and Cephes' polynomial for what is left.
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  constexpr float ROUND = 12582912.0f; // 1.5 * 2^23: what is added to it is rounded
  const float n = (x * 1.44269504088896341f + ROUND) - ROUND;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float fraction = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return fraction * power;
}

inline float sigmoid_of_twice(float u) { return 1.0f / (1.0f + fast_exp(-2.0f * u)); }

FOR_EACH_PROCESSOR
void forwards(float *__restrict out, const float *__restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float u = SLOPE * (x[i] + CUBIC * x[i] * x[i] * x[i]);
    out[i] = x[i] * sigmoid_of_twice(u);
  }
}

FOR_EACH_PROCESSOR
void backwards(float *__restrict out, const float *__restrict grad, const float *__restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float square = x[i] * x[i];
    const float s = sigmoid_of_twice(SLOPE * (x[i] + CUBIC * square * x[i]));
    const float slope = 2.0f * SLOPE * (1.0f + 3.0f * CUBIC * square);
    out[i] = grad[i] * (s + x[i] * s * (1.0f - s) * slope);
  }
}

// Runs `loop` over tensors of one shape, in f32 and in a row, by libtorch's threads.
template <class Loop> void each(at::TensorIterator iterator, Loop loop) {
  iterator.for_each([&](char **data, const int64_t *, int64_t n) { loop(data, n); });
}

struct Gelu : torch::autograd::Function<Gelu> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &given) {
    const auto x = given.contiguous();
    context->save_for_backward({x});
    auto out = at::empty_like(x);
    each(at::TensorIterator::unary_op(out, x), [](char **data, int64_t n) {
      forwards(reinterpret_cast<float *>(data[0]), reinterpret_cast<float *>(data[1]), n);
    });
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, torch::autograd::variable_list grads) {
    const auto x = context->get_saved_variables()[0];
    const auto grad = grads[0].contiguous();
    auto out = at::empty_like(x);
    each(at::TensorIterator::binary_op(out, grad, x), [](char **data, int64_t n) {
      const auto floats = [&](int i) { return reinterpret_cast<float *>(data[i]); };
      backwards(floats(0), floats(1), floats(2), n);
    });
    return {out};
  }
};
} // namespace

extern "C" char *dmdr_gelu(const at::Tensor *x, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(Gelu::apply(*x)); });
}
