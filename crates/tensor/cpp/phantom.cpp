// A device without memory: its tensors have shapes but no numbers, and what they would take is counted.
//
// libtorch's meta tensors compute shapes; `tch` cannot name their device. So a phantom is a tensor of the Vulkan device,
// which no build of libtorch for desktops has, around a meta tensor. A fallback unwraps the arguments of every operation and
// wraps its results, and autograd sits on top as for any device. Operations that meta tensors lack are at the end.
#include <ATen/ATen.h>
#include <algorithm>
#include <atomic>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <cstring>
#include <string>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>
#include <vector>

namespace {
using at::Tensor;

std::atomic<int64_t> live_bytes{0}, peak_bytes{0};

// Floating-point operations of products, of which a multiplication and an addition are two. All else is memory's business.
std::atomic<int64_t> operations{0};

int64_t product(at::IntArrayRef sizes) {
  int64_t all = 1;
  for (const auto size : sizes) all *= size;
  return all;
}

// Of `[.., m, k]` by `[.., k, n]`.
void count_matmul(const Tensor &a, const Tensor &b) { operations += 2 * a.numel() * b.size(-1); }

const c10::Device DEVICE(c10::kVulkan, 0);

// The allocator of meta tensors: hands out nothing and counts it.
struct Counting final : c10::Allocator {
  static void drop(void *context) {
    auto *bytes = static_cast<int64_t *>(context);
    live_bytes -= *bytes;
    delete bytes;
  }
  c10::DataPtr allocate(size_t n) override {
    auto *bytes = new int64_t(static_cast<int64_t>(n));
    const auto now = live_bytes += *bytes;
    auto peak = peak_bytes.load();
    while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
    }
    return {nullptr, bytes, &drop, c10::Device(c10::kMeta)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &drop; }
  void copy_data(void *, const void *, std::size_t) const override {}
};

struct Phantom final : c10::TensorImpl {
  Tensor meta;

  explicit Phantom(Tensor of)
      : TensorImpl(c10::DispatchKeySet(c10::DispatchKey::Vulkan), of.dtype(), DEVICE), meta(std::move(of)) {
    // Iterators ask every tensor for its address, if only to pass it on.
    set_storage_keep_dtype(c10::Storage(c10::Storage::use_byte_size_t(), meta.storage().nbytes(), c10::DataPtr(nullptr, device())));
    resize();
  }
  // Takes over the shape of the meta tensor, which an operation in place may have changed.
  void resize() { set_sizes_and_strides(meta.sizes(), meta.strides(), meta.storage_offset()); }

  template <class Version> c10::intrusive_ptr<TensorImpl> copied(Version &&version, bool allow_change) const {
    auto copy = c10::make_intrusive<Phantom>(meta);
    copy_tensor_metadata(this, copy.get(), std::forward<Version>(version), allow_change);
    return copy;
  }
  c10::intrusive_ptr<TensorImpl> shallow_copy_and_detach(const c10::VariableVersion &version, bool allow_change) const override {
    return copied(version, allow_change);
  }
  c10::intrusive_ptr<TensorImpl> shallow_copy_and_detach(c10::VariableVersion &&version, bool allow_change) const override {
    return copied(std::move(version), allow_change);
  }
  void release_resources() override {
    TensorImpl::release_resources();
    meta.reset();
  }
};

Phantom *phantom(const Tensor &tensor) { return dynamic_cast<Phantom *>(tensor.unsafeGetTensorImpl()); }

Tensor wrap(Tensor meta) { return Tensor(c10::make_intrusive<Phantom>(std::move(meta))); }

Tensor unwrap(const Tensor &tensor) {
  if (!tensor.defined()) return tensor;
  if (auto *inner = phantom(tensor)) return inner->meta;
  // Numbers of the CPU mix with any device.
  return tensor.dim() == 0 ? tensor : at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta));
}

c10::IValue unwrapped(const c10::IValue &value) {
  if (value.isTensor()) return unwrap(value.toTensor());
  if (value.isDevice()) return value.toDevice().is_vulkan() ? c10::Device(c10::kMeta) : value.toDevice();
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor &tensor : value.toTensorVector()) list.push_back(unwrap(tensor));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (const std::optional<Tensor> &tensor : value.toOptionalTensorList())
      list.push_back(tensor ? std::optional<Tensor>(unwrap(*tensor)) : std::nullopt);
    return list;
  }
  return value;
}

c10::IValue wrapped(const c10::IValue &value) {
  if (value.isTensor()) return value.toTensor().defined() ? wrap(value.toTensor()) : value;
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor &tensor : value.toTensorVector()) list.push_back(wrap(tensor));
    return list;
  }
  return value;
}

// Counts the products that the fallback sees.
void count(const std::string &name, const std::vector<c10::IValue> &given) {
  if (name == "aten::mm" || name == "aten::bmm")
    count_matmul(given[0].toTensor(), given[1].toTensor());
  else if (name == "aten::addmm" || name == "aten::baddbmm")
    count_matmul(given[1].toTensor(), given[2].toTensor());
}

// Any operation: on the meta tensors.
void forward_to_meta(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  const auto &schema = op.schema();
  const auto given = torch::jit::pop(*stack, schema.arguments().size());
  count(schema.name(), given);
  torch::jit::Stack inner;
  for (const auto &value : given) inner.push_back(unwrapped(value));
  op.callBoxed(&inner);
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    const auto *alias = schema.returns()[i].alias_info();
    size_t written = given.size();
    if (alias && alias->isWrite())
      for (size_t j = 0; j < given.size(); ++j) {
        const auto *other = schema.arguments()[j].alias_info();
        if (other && other->isWrite() && other->beforeSets() == alias->beforeSets()) written = j;
      }
    if (written == given.size()) {
      stack->push_back(wrapped(inner[i]));
      continue;
    }
    if (given[written].isTensor())
      if (auto *changed = phantom(given[written].toTensor())) changed->resize();
    stack->push_back(given[written]);
  }
}

// What an optimiser changes in place has the shape it had.
void change_nothing(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  torch::jit::drop(*stack, op.schema().arguments().size());
}

// All numbers are 1: finite, positive, and an index into anything that has two of it.
at::Scalar number(const Tensor &tensor) {
  if (at::isFloatingType(tensor.scalar_type())) return 1.0;
  return tensor.scalar_type() == at::kBool ? at::Scalar(true) : at::Scalar(int64_t{1});
}

Tensor &copy(Tensor &self, const Tensor &, bool) {
  if (!phantom(self)) self.fill_(number(self)); // to the CPU
  return self;
}

Tensor like(const Tensor &tensor) { return at::empty_like(tensor, tensor.suggest_memory_format()); }

Tensor statistic(const Tensor &input, at::IntArrayRef shape) {
  const bool is_reduced = at::isReducedFloatingType(input.scalar_type());
  return at::empty(shape, is_reduced ? input.options().dtype(at::kFloat) : input.options());
}

std::tuple<Tensor, Tensor, Tensor> layer_norm(const Tensor &input, at::IntArrayRef normalized, const std::optional<Tensor> &,
                                              const std::optional<Tensor> &, double) {
  auto shape = input.sizes().vec();
  std::fill(shape.end() - static_cast<int64_t>(normalized.size()), shape.end(), 1);
  return {at::empty(input.sizes(), input.options()), statistic(input, shape), statistic(input, shape)};
}

std::tuple<Tensor, Tensor, Tensor> layer_norm_backward(const Tensor &, const Tensor &input, at::IntArrayRef,
                                                       const Tensor &, const Tensor &, const std::optional<Tensor> &weight,
                                                       const std::optional<Tensor> &bias, std::array<bool, 3> mask) {
  return {mask[0] ? like(input) : Tensor(), mask[1] ? like(*weight) : Tensor(), mask[2] ? like(*bias) : Tensor()};
}

std::tuple<Tensor, Tensor, Tensor> group_norm(const Tensor &input, const std::optional<Tensor> &, const std::optional<Tensor> &,
                                              int64_t n, int64_t, int64_t, int64_t groups, double) {
  return {like(input), statistic(input, {n, groups}), statistic(input, {n, groups})};
}

std::tuple<Tensor, Tensor, Tensor> group_norm_backward(const Tensor &, const Tensor &input, const Tensor &, const Tensor &,
                                                       const std::optional<Tensor> &weight, int64_t, int64_t channels, int64_t,
                                                       int64_t, std::array<bool, 3> mask) {
  const auto channel = at::empty({channels}, weight ? weight->options() : input.options());
  return {mask[0] ? like(input) : Tensor(), mask[1] ? channel : Tensor(), mask[2] ? channel : Tensor()};
}

Tensor convolution(const Tensor &input, const Tensor &weight, const std::optional<Tensor> &, at::IntArrayRef stride,
                   at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef, int64_t) {
  TORCH_CHECK(!transposed, "no network here has transposed convolutions");
  std::vector<int64_t> shape{input.size(0), weight.size(0)};
  for (int64_t i = 2; i < input.dim(); ++i) {
    const auto window = dilation[i - 2] * (weight.size(i) - 1) + 1;
    shape.push_back((input.size(i) + 2 * padding[i - 2] - window) / stride[i - 2] + 1);
  }
  operations += 2 * product(shape) * (weight.numel() / weight.size(0));
  return at::empty(shape, input.options());
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor &gradient, const Tensor &input, const Tensor &weight,
                                                        at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, bool,
                                                        at::IntArrayRef, int64_t, std::array<bool, 3> mask) {
  operations += 2 * (mask[0] + mask[1]) * gradient.numel() * (weight.numel() / weight.size(0));
  return {mask[0] ? like(input) : Tensor(), mask[1] ? like(weight) : Tensor(),
          mask[2] ? at::empty({weight.size(0)}, gradient.options()) : Tensor()};
}

Tensor index_select(const Tensor &self, int64_t dim, const Tensor &index) {
  auto shape = self.sizes().vec();
  shape[at::maybe_wrap_dim(dim, self.dim())] = index.numel();
  return at::empty(shape, self.options());
}

Tensor embedding_backward(const Tensor &gradient, const Tensor &, int64_t count, int64_t, bool) {
  return at::empty({count, gradient.size(-1)}, gradient.options());
}

// Element by element into the last argument.
void elementwise(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  const auto given = torch::jit::pop(*stack, op.schema().arguments().size());
  auto out = given.back().toTensor();
  std::vector<int64_t> shape;
  for (size_t i = 0; i + 1 < given.size(); ++i)
    if (given[i].isTensor()) shape = at::infer_size(shape, given[i].toTensor().sizes());
  out.resize_(shape);
  stack->push_back(out);
}

Tensor is_nan(const Tensor &self) { return at::empty(self.sizes(), self.options().dtype(at::kBool)); }

Tensor where(const Tensor &condition, const Tensor &a, const Tensor &b) {
  const auto shape = at::infer_size(condition.sizes(), at::infer_size(a.sizes(), b.sizes()));
  return at::empty(shape, (phantom(a) ? a : phantom(b) ? b : condition).options().dtype(at::result_type(a, b)));
}

Tensor gamma(const Tensor &self, std::optional<at::Generator>) { return like(self); }

Tensor extreme(const Tensor &self) { return at::empty({}, self.options()); }

Tensor spread(const Tensor &self, at::OptionalIntArrayRef dims, const std::optional<at::Scalar> &, bool keeps) {
  return at::mean(self, dims, keeps);
}

// Attention by blocks, as CUDA's and the CPU's kernels do it: the weights are never held.
struct Attention : torch::autograd::Function<Attention> {
  static Tensor forward(torch::autograd::AutogradContext *context, const Tensor &q, const Tensor &k, const Tensor &v) {
    const auto out = at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2);
    const auto sums = at::empty({q.size(0), q.size(1), q.size(2)}, q.options().dtype(at::kFloat));
    context->save_for_backward({q, k, v, out, sums});
    operations += 2 * q.numel() * k.size(2) + 2 * out.numel() * k.size(2);
    return out;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *context, const torch::autograd::variable_list &) {
    const auto saved = context->get_saved_variables();
    operations += 4 * saved[0].numel() * saved[1].size(2) + 4 * saved[3].numel() * saved[1].size(2);
    return {like(saved[0]), like(saved[1]), like(saved[2])};
  }
};

Tensor attention(const Tensor &q, const Tensor &k, const Tensor &v, const std::optional<Tensor> &, double, bool,
                 std::optional<double>, bool) {
  return Attention::apply(q, k, v);
}

// One device, which is always the current one; libtorch keeps a thread for its backward passes.
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::Vulkan> {
  c10::Device getDevice() const override { return DEVICE; }
};
C10_REGISTER_GUARD_IMPL(Vulkan, Guard);

TORCH_LIBRARY_IMPL(_, Vulkan, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&forward_to_meta>()); }

TORCH_LIBRARY_IMPL(aten, Vulkan, library) {
  library.impl("_local_scalar_dense", number);
  library.impl("copy_", copy);
  library.impl("_fused_adamw_", torch::CppFunction::makeFromBoxedFunction<&change_nothing>());
  library.impl("native_layer_norm", layer_norm);
  library.impl("native_layer_norm_backward", layer_norm_backward);
  library.impl("native_group_norm", group_norm);
  library.impl("native_group_norm_backward", group_norm_backward);
  library.impl("convolution_overrideable", convolution);
  library.impl("convolution_backward_overrideable", convolution_backward);
  library.impl("index_select", index_select);
  library.impl("embedding_dense_backward", embedding_backward);
  for (const auto *name : {"abs.out", "nan_to_num.out", "logical_not.out", "logical_and.out", "logical_or.out",
                           "where.self_out"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&elementwise>());
  library.impl("_standard_gamma", gamma);
  library.impl("isnan", is_nan);
  library.impl("where.self", where);
  library.impl("max", extreme);
  library.impl("min", extreme);
  library.impl("std.correction", spread);
  library.impl("var.correction", spread);
}

TORCH_LIBRARY_IMPL(aten, AutogradOther, library) { library.impl("scaled_dot_product_attention", attention); }
} // namespace

extern "C" {
// Counts what phantoms take from now on.
void dmdr_phantom_install() {
  static Counting counting;
  c10::SetAllocator(c10::kMeta, &counting, 1);
}

int64_t dmdr_phantom_live() { return live_bytes; }

// Operations since the last call.
int64_t dmdr_phantom_operations() { return operations.exchange(0); }

// The peak since the last call.
int64_t dmdr_phantom_peak() { return peak_bytes.exchange(live_bytes); }
}
