// What libtorch does on the CPU in many passes over memory or in slow ones, in one: in f32, forwards and backwards.
//
// GELU by its tanh formula (arXiv 1606.08415): a tanh to the last bit took a tenth of an update of a small network;
// x sigmoid(2 u) is the same function with one fast exponential.
// Normalisation by the root mean square (arXiv 1910.07467): libtorch composes it of six operations.
#include "guarded.h"
#include <ATen/ATen.h>
#include <ATen/TensorIterator.h>
#include <algorithm>
#include <cmath>
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

FOR_EACH_PROCESSOR
void forwards(float *__restrict out, const float *__restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float u = SLOPE * (x[i] + CUBIC * x[i] * x[i] * x[i]);
    out[i] = x[i] / (1.0f + fast_exp(-2.0f * u));
  }
}

FOR_EACH_PROCESSOR
void backwards(float *__restrict out, const float *__restrict grad, const float *__restrict x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float square = x[i] * x[i];
    const float e = fast_exp(-2.0f * SLOPE * (x[i] + CUBIC * square * x[i]));
    const float s = 1.0f / (1.0f + e);
    const float slope = 2.0f * SLOPE * (1.0f + 3.0f * CUBIC * square);
    out[i] = grad[i] * (s + x[i] * s * (e * s) * slope); // e s = 1 - s, to all digits
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

// Rows of a tensor of four dimensions whose last one lies in a row, as of queries within a joint projection.
struct Rows {
  const float *data;
  int64_t sizes[4], strides[4];

  explicit Rows(const at::Tensor &x) : data(x.const_data_ptr<float>()) {
    for (int i = 0; i < 4; ++i) sizes[i] = x.size(i), strides[i] = x.stride(i);
  }
  const float *operator[](int64_t row) const {
    const auto third = row % sizes[2], second = row / sizes[2] % sizes[1], first = row / sizes[2] / sizes[1];
    return data + first * strides[0] + second * strides[1] + third * strides[2];
  }
};

// As four dimensions with the last one in a row.
at::Tensor in_rows(const at::Tensor &x) {
  auto four = x.dim() == 4 ? x : x.reshape({1, 1, -1, x.size(-1)});
  return four.stride(3) == 1 ? four : four.contiguous();
}

// 1 / sqrt(mean(x^2) + eps) of a row.
inline float inverse_rms(const float *__restrict x, int64_t n, float eps) {
  constexpr int LANES = 16; // sums apart, so that they become a vector
  float sums[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int lane = 0; lane < LANES; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  float sum = 0;
  for (const float part : sums) sum += part;
  for (; i < n; ++i) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(n) + eps);
}

inline float dot(const float *__restrict a, const float *__restrict b, const float *__restrict c, int64_t n) {
  constexpr int LANES = 16;
  float sums[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int lane = 0; lane < LANES; ++lane) sums[lane] += a[i + lane] * b[i + lane] * c[i + lane];
  float sum = 0;
  for (const float part : sums) sum += part;
  for (; i < n; ++i) sum += a[i] * b[i] * c[i];
  return sum;
}

FOR_EACH_PROCESSOR
void normalise(float *out, float *scales, const Rows &x, const float *weight, float eps, int64_t from, int64_t to) {
  const auto n = x.sizes[3];
  for (auto row = from; row < to; ++row) {
    const float *__restrict in = x[row];
    float *__restrict made = out + row * n;
    const float scale = scales[row] = inverse_rms(in, n, eps);
    for (int64_t i = 0; i < n; ++i) made[i] = in[i] * scale * weight[i];
  }
}

// With y = x r w and r = (mean(x^2) + eps)^(-1/2): dx = r (g w - x r^2 mean(g w x)).
FOR_EACH_PROCESSOR
void normalise_back(float *out, const float *scales, const Rows &x, const Rows &grad, const float *weight, int64_t from, int64_t to) {
  const auto n = x.sizes[3];
  for (auto row = from; row < to; ++row) {
    const float *__restrict in = x[row];
    const float *__restrict given = grad[row];
    float *__restrict made = out + row * n;
    const float scale = scales[row];
    const float along = scale * scale * dot(in, given, weight, n) / static_cast<float>(n);
    for (int64_t i = 0; i < n; ++i) made[i] = scale * (given[i] * weight[i] - in[i] * along);
  }
}

// Runs `body` on ranges of rows, of which each has a number in `scales`, by libtorch's threads.
template <class Body> void each_row(at::Tensor &scales, int64_t width, Body body) {
  auto *start = scales.data_ptr<float>();
  const auto grain = std::max<int64_t>(1, at::internal::GRAIN_SIZE / std::max<int64_t>(1, width));
  auto iterator = at::TensorIterator::nullary_op(scales);
  iterator.for_each(
      [&](char **data, const int64_t *, int64_t n) {
        const auto from = reinterpret_cast<float *>(data[0]) - start;
        body(from, from + n);
      },
      grain);
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext *context, const at::Tensor &given, const at::Tensor &weight, double eps) {
    const auto x = in_rows(given);
    const auto factors = weight.contiguous();
    auto out = at::empty(x.sizes(), x.options());
    auto scales = at::empty({x.numel() / x.size(3)}, x.options());
    const Rows rows(x);
    each_row(scales, x.size(3), [&](int64_t from, int64_t to) {
      normalise(out.data_ptr<float>(), scales.data_ptr<float>(), rows, factors.const_data_ptr<float>(), static_cast<float>(eps), from, to);
    });
    context->save_for_backward({given, factors});
    context->saved_data["scales"] = scales;
    return out.view(given.sizes());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto x = in_rows(saved[0]), grad = in_rows(grads[0]);
    const auto &weight = saved[1];
    auto scales = context->saved_data["scales"].toTensor();
    at::Tensor of_x, of_weight;
    if (context->needs_input_grad(0)) {
      of_x = at::empty(x.sizes(), x.options());
      const Rows rows(x), given(grad);
      each_row(scales, x.size(3), [&](int64_t from, int64_t to) {
        normalise_back(of_x.data_ptr<float>(), scales.data_ptr<float>(), rows, given, weight.const_data_ptr<float>(), from, to);
      });
      of_x = of_x.view(saved[0].sizes());
    }
    if (context->needs_input_grad(1))
      of_weight = (grad * x).mul_(scales.view({x.size(0), x.size(1), x.size(2), 1})).sum({0, 1, 2});
    return {of_x, of_weight, at::Tensor()};
  }
};
} // namespace

extern "C" {
char *dmdr_gelu(const at::Tensor *x, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(Gelu::apply(*x)); });
}

// Over the last dimension of `x`, with the factors `weight`.
char *dmdr_rms_norm(const at::Tensor *x, const at::Tensor *weight, double eps, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(RmsNorm::apply(*x, *weight, eps)); });
}
}
