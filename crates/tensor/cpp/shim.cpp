// What `tch` lacks, and nothing else. Every function returns nullptr on success or a malloc'ed message.
#include "guarded.h"
#include <ATen/ATen.h>
#include <ATen/ops/_fused_adamw.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/GradMode.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <unordered_set>
#include <vector>

namespace {
std::vector<at::Tensor> list(at::Tensor **tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

namespace autograd = torch::autograd;
using Tensors = std::vector<at::Tensor>;

// A piece of a network, in Rust: makes a new tensor of `n` others, or nullptr if it failed, with the reason in `message`.
struct Piece {
  void *data;
  at::Tensor *(*run)(void *data, at::Tensor *const *in, size_t n, char *message, size_t capacity);
  void (*drop)(void *data);

  at::Tensor make(const std::vector<at::Tensor *> &in) const {
    char message[512] = {};
    const std::unique_ptr<at::Tensor> result(run(data, in.data(), in.size(), message, sizeof message));
    TORCH_CHECK(result, "the piece panicked: ", message);
    return *result;
  }
};

// How many passes within pieces this thread is in: what they give to a leaf is not all that it gets.
thread_local int passes_within = 0;
struct Within {
  Within() { ++passes_within; }
  ~Within() { --passes_within; }
};

// Somebody who is told of gradients on the way.
struct Listener {
  void *data;
  void (*hear)(void *data, size_t index, at::Tensor *gradient);
};

// The node that stands for a piece in the graph: it keeps the piece's inputs, and runs it again for its gradients.
struct Recompute : autograd::Node {
  Piece piece;
  Tensors inputs;           // without graph
  std::vector<bool> wanted; // which of them a gradient is asked of
  Tensors leaves;           // trained tensors the piece reads besides

  explicit Recompute(Piece piece) : piece(piece) {}
  Recompute(const Recompute &) = delete;
  Recompute &operator=(const Recompute &) = delete;
  ~Recompute() override { piece.drop(piece.data); }

  // The result, made of `starts`, which become the inputs as leaves.
  at::Tensor run(Tensors &starts) const {
    for (size_t i = 0; i < inputs.size(); ++i) starts.push_back(inputs[i].detach().requires_grad_(wanted[i]));
    std::vector<at::Tensor *> in;
    for (auto &start : starts) in.push_back(&start);
    return piece.make(in);
  }

  autograd::variable_list apply(autograd::variable_list &&cotangents) override {
    TORCH_CHECK(inputs.size() == wanted.size(), "this part of the graph is used up");
    c10::AutoGradMode with_graph(true);
    Tensors starts, targets;
    const auto result = run(starts);
    for (size_t i = 0; i < starts.size(); ++i)
      if (wanted[i]) targets.push_back(starts[i]);
    targets.insert(targets.end(), leaves.begin(), leaves.end());
    const Within within;
    return autograd::grad({result}, targets, cotangents, std::nullopt, false, /*allow_unused=*/true);
  }

  void release_variables() override { inputs.clear(); }
};

// The leaves that `result` was made of, without `starts`.
Tensors leaves_of(const at::Tensor &result, const Tensors &starts) {
  std::unordered_set<const void *> seen;
  for (const auto &start : starts) seen.insert(start.unsafeGetTensorImpl());
  std::vector<autograd::Node *> open{result.grad_fn().get()};
  Tensors leaves;
  while (!open.empty()) {
    auto *node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    auto *leaf = dynamic_cast<autograd::AccumulateGrad *>(node);
    if (leaf && seen.insert(leaf->variable.unsafeGetTensorImpl()).second) leaves.push_back(leaf->variable);
    for (const auto &edge : node->next_edges())
      if (edge.function) open.push_back(edge.function.get());
  }
  return leaves;
}

// A product with a weight that is made for each use and kept by none.
struct Linear : autograd::Node {
  Piece piece;

  explicit Linear(Piece piece) : piece(piece) {}
  Linear(const Linear &) = delete;
  Linear &operator=(const Linear &) = delete;
  ~Linear() override { piece.drop(piece.data); }

  autograd::variable_list apply(autograd::variable_list &&cotangents) override {
    const auto &cotangent = cotangents[0];
    if (!cotangent.defined()) return {at::Tensor()};
    return {cotangent.matmul(piece.make({}))};
  }
};

// Counts what tensors take on the CPU; libtorch's allocator tells whoever is the profiler of a thread.
struct Meter final : c10::MemoryReportingInfoBase {
  int64_t live = 0, peak = 0;
  void reportMemoryUsage(void *, int64_t change, size_t, size_t, c10::Device) override {
    live += change;
    peak = std::max(peak, live);
  }
  bool memoryProfilingEnabled() const override { return true; }
};

struct Metering {
  std::shared_ptr<Meter> meter = std::make_shared<Meter>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, meter};
};

// The generator that draws on CUDA device `index`, or for -1 on the CPU.
at::Generator generator(int index) {
  const auto cpu = c10::Device(c10::kCPU);
  return at::globalContext().defaultGenerator(index < 0 ? cpu : c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)));
}

c10::DeviceAllocator &cuda() {
  auto *allocator = dynamic_cast<c10::DeviceAllocator *>(c10::GetAllocator(c10::kCUDA));
  TORCH_CHECK(allocator != nullptr, "the CUDA allocator keeps no statistics");
  return *allocator;
}
} // namespace

extern "C" {
// Runs `piece` on `n` inputs; behind the result stands a node that runs it again going backwards. `piece` is ours from here.
char *dmdr_recompute(at::Tensor *const *in, size_t n, at::Tensor **out, Piece piece) {
  return guarded([&] {
    const std::shared_ptr<Recompute> node(new Recompute(piece), autograd::deleteNode);
    autograd::edge_list edges;
    for (size_t i = 0; i < n; ++i) {
      node->inputs.push_back(in[i]->detach());
      node->wanted.push_back(in[i]->requires_grad());
      if (in[i]->requires_grad()) edges.push_back(autograd::impl::gradient_edge(*in[i]));
    }
    Tensors starts;
    const auto traced = node->run(starts);
    auto result = traced.detach();
    if (traced.grad_fn()) {
      node->leaves = leaves_of(traced, starts);
      for (const auto &leaf : node->leaves) edges.push_back(autograd::impl::gradient_edge(leaf));
      node->set_next_edges(std::move(edges));
      autograd::set_history(result, node);
    }
    *out = new at::Tensor(std::move(result));
  });
}

// Tells `listener` of the gradients of the leaves `in` as soon as each is whole, while those of others are on their way. It
// keeps none of them.
char *dmdr_gradients_heard(const at::Tensor *loss, at::Tensor *const *in, size_t n, Listener listener) {
  return guarded([&] {
    Tensors leaves;
    for (size_t i = 0; i < n; ++i) leaves.push_back(*in[i]);
    struct Hooks {
      const Tensors &leaves;
      std::vector<unsigned> hooks;
      ~Hooks() {
        for (size_t i = 0; i < hooks.size(); ++i) leaves[i].remove_hook(hooks[i]);
      }
    } hooks{leaves, {}};
    for (size_t i = 0; i < n; ++i)
      hooks.hooks.push_back(leaves[i].register_hook([i, listener](at::Tensor gradient) {
        if (passes_within > 0 || !gradient.defined()) return gradient;
        listener.hear(listener.data, i, &gradient);
        // The pass gives what it captures in the end: of this shape, in no memory.
        return gradient.new_zeros({}).expand_as(gradient);
      }));
    autograd::grad({*loss}, leaves, {}, std::nullopt, false, /*allow_unused=*/true);
  });
}

// x W^T + b, where `piece`, which is given nothing, makes the weight for each use. `piece` is ours from here.
char *dmdr_linear(const at::Tensor *x, const at::Tensor *bias, at::Tensor **out, Piece piece) {
  return guarded([&] {
    const std::shared_ptr<Linear> node(new Linear(piece), autograd::deleteNode);
    const auto given = bias ? std::optional<at::Tensor>(bias->detach()) : std::nullopt;
    auto result = at::linear(x->detach(), piece.make({}), given);
    if (x->requires_grad() && c10::GradMode::is_enabled()) {
      node->set_next_edges({autograd::impl::gradient_edge(*x)});
      autograd::set_history(result, node);
    }
    *out = new at::Tensor(std::move(result));
  });
}

// Opens the one level that libtorch has for tangents, once in the process. It is never left: a tangent goes when its tensor
// goes, and threads do not wait for each other.
char *dmdr_open_tangents() {
  return guarded([] {
    static const auto level = autograd::ForwardADLevel::get_next_idx();
    TORCH_CHECK(level == 0, "another level of forward differentiation is open");
  });
}

bool dmdr_has_tangent(const at::Tensor *tensor) { return tensor->_fw_grad(0).defined(); }

// One AdamW step (decoupled decay) over all parameters in place. `steps` counts from 1 and is advanced here. Nothing changes
// where `skip`, a scalar of 32 bits on the parameters' device, is 1; it is 0 otherwise.
char *dmdr_fused_adamw(at::Tensor **params, at::Tensor **grads, at::Tensor **exp_avgs, at::Tensor **exp_avg_sqs,
                       at::Tensor **steps, size_t n, double lr, double beta1, double beta2, double weight_decay,
                       double eps, at::Tensor *skip) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto state_steps = list(steps, n);
    const auto one = 1 - *skip;
    for (auto &step : state_steps) step.add_(one);
    at::_fused_adamw_(list(params, n), list(grads, n), list(exp_avgs, n), list(exp_avg_sqs, n), {}, state_steps, lr,
                      beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{}, *skip);
  });
}

// What a generator is about to draw.
char *dmdr_generator_state(int index, at::Tensor **state) {
  return guarded([&] {
    auto found = generator(index);
    const std::lock_guard<std::mutex> lock(found.mutex());
    *state = new at::Tensor(found.get_state());
  });
}

char *dmdr_set_generator_state(int index, const at::Tensor *state) {
  return guarded([&] {
    auto found = generator(index);
    const std::lock_guard<std::mutex> lock(found.mutex());
    found.set_state(*state);
  });
}

// Starts to count what this thread's tensors take on the CPU; to be stopped on this thread, the last started first.
void *dmdr_meter_start() { return new Metering; }

void dmdr_meter_stop(void *metering) { delete static_cast<Metering *>(metering); }

int64_t dmdr_meter_live(const void *metering) { return static_cast<const Metering *>(metering)->meter->live; }

int64_t dmdr_meter_peak(const void *metering) { return static_cast<const Metering *>(metering)->meter->peak; }

// Peak bytes the caching allocator of CUDA device `index` handed out since the start.
char *dmdr_cuda_peak_bytes(int index, int64_t *bytes) {
  return guarded([&] { *bytes = cuda().getDeviceStats(index).allocated_bytes[0].peak; });
}

// Bytes of memory that CUDA device `index` has.
char *dmdr_cuda_total_bytes(int index, int64_t *bytes) {
  return guarded([&] { *bytes = static_cast<int64_t>(cuda().getMemoryInfo(index).second); });
}
}
