// What `tch` lacks, and nothing else. Every function returns nullptr on success or a malloc'ed message.
#include <ATen/ATen.h>
#include <ATen/ops/_fused_adamw.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/GradMode.h>
#include <cstring>
#include <exception>
#include <vector>

namespace {
std::vector<at::Tensor> list(at::Tensor **tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

template <class F> char *guarded(F body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  }
}
} // namespace

extern "C" {
// One AdamW step (decoupled decay) over all parameters in place. `steps` counts from 1 and is advanced here.
char *dmdr_fused_adamw(at::Tensor **params, at::Tensor **grads, at::Tensor **exp_avgs, at::Tensor **exp_avg_sqs,
                       at::Tensor **steps, size_t n, double lr, double beta1, double beta2, double weight_decay,
                       double eps) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto state_steps = list(steps, n);
    for (auto &step : state_steps) step.add_(1);
    at::_fused_adamw_(list(params, n), list(grads, n), list(exp_avgs, n), list(exp_avg_sqs, n), {}, state_steps, lr,
                      beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

// Peak bytes the caching allocator of CUDA device `index` handed out since the start.
char *dmdr_cuda_peak_bytes(int index, int64_t *bytes) {
  return guarded([&] {
    auto *allocator = dynamic_cast<c10::DeviceAllocator *>(c10::GetAllocator(c10::kCUDA));
    TORCH_CHECK(allocator != nullptr, "the CUDA allocator keeps no statistics");
    *bytes = allocator->getDeviceStats(index).allocated_bytes[0].peak;
  });
}
}
