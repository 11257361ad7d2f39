// The little of Gloo that libtorch's header of its process group names: libtorch has Gloo inside, but brings no headers of it.
// All of it is behind pointers, so that nothing here has to match but the names.
#pragma once
#include <chrono>
namespace gloo {
class Context {
public:
  void setTimeout(std::chrono::milliseconds timeout);
};
} // namespace gloo
