// Processes that train together: libtorch's own store and process group. Every function returns nullptr on success or a
// malloc'ed message.
#define USE_C10D_GLOO
#include "guarded.h"
#include <c10/util/Logging.h>
#include <cstdlib>
#include <cstring>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

namespace {
struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
};

std::vector<uint8_t> bytes(const char *text) { return {text, text + strlen(text)}; }
} // namespace

extern "C" {
// Joins the processes that meet at the store on `host` and `port`, whose keys begin with `prefix`. One of them serves it,
// unless somebody else does. `address` is how others reach this one; with nullptr libtorch finds out.
char *dmdr_ranks_join(const char *host, uint16_t port, bool serves, const char *prefix, int rank, int ranks,
                      int64_t timeout_ms, const char *address, void **group) {
  return guarded([&] {
    // What fails here is said in our own words; libtorch would print stack traces besides.
    if (!getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = 2; // errors alone
    const std::chrono::milliseconds timeout(timeout_ms);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = timeout;
    c10::intrusive_ptr<c10d::Store> store = c10::make_intrusive<c10d::TCPStore>(host, options);
    store = c10::make_intrusive<c10d::PrefixStore>(prefix, store);
    using Gloo = c10d::ProcessGroupGloo;
    auto own = Gloo::Options::create(timeout);
    const char *interface = getenv("GLOO_SOCKET_IFNAME"); // as PyTorch has it
    own->devices.push_back(interface ? Gloo::createDeviceForInterface(interface)
                           : address ? Gloo::createDeviceForHostname(address)
                                     : Gloo::createDefaultDevice());
    const c10::intrusive_ptr<c10d::Store> meeting = c10::make_intrusive<c10d::PrefixStore>("gloo", store);
    *group = new Group{store, c10::make_intrusive<Gloo>(meeting, rank, ranks, own)};
  });
}

// Begins to replace `tensor` by the sum over all processes, for how = 1 by the maximum, for 2 by that of process `root`.
char *dmdr_ranks_begin(void *group, at::Tensor *tensor, int how, int root, void **work) {
  return guarded([&] {
    auto &backend = *static_cast<Group *>(group)->backend;
    std::vector<at::Tensor> tensors{*tensor};
    if (how == 2) {
      c10d::BroadcastOptions options;
      options.rootRank = root;
      *work = backend.broadcast(tensors, options).release();
    } else {
      c10d::AllreduceOptions options;
      options.reduceOp = how == 1 ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
      *work = backend.allreduce(tensors, options).release();
    }
  });
}

// Begins to fill `all` with the `part` of every process, in order.
char *dmdr_ranks_gather(void *group, at::Tensor *part, at::Tensor *all, void **work) {
  return guarded([&] { *work = static_cast<Group *>(group)->backend->_allgather_base(*all, *part).release(); });
}

// Waits for what was begun, and forgets it.
char *dmdr_ranks_wait(void *work) {
  return guarded([&] {
    const auto owned = c10::intrusive_ptr<c10d::Work>::reclaim(static_cast<c10d::Work *>(work));
    owned->wait();
  });
}

char *dmdr_ranks_tell(void *group, const char *key, const char *value) {
  return guarded([&] { static_cast<Group *>(group)->store->set(key, bytes(value)); });
}

char *dmdr_ranks_forget(void *group, const char *key) {
  return guarded([&] { static_cast<Group *>(group)->store->deleteKey(key); });
}

// What was told under `key`; `value` stays nullptr if nothing was.
char *dmdr_ranks_ask(void *group, const char *key, char **value) {
  return guarded([&] {
    auto &store = static_cast<Group *>(group)->store;
    if (!store->check({key})) return;
    const auto found = store->get(key);
    *value = strndup(reinterpret_cast<const char *>(found.data()), found.size());
  });
}
}
