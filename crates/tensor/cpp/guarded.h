// How the shim tells Rust of errors.
#pragma once
#include <cstring>
#include <exception>

// Runs `body`; nullptr, or the malloc'ed message of what it threw.
template <class F> char *guarded(F body) {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  }
}
