// Opening the CUDA part of libtorch while the program runs, and asking the driver. Strings are malloc'ed.
#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <string>

namespace {
// A function of the driver, or nullptr.
template <class F> F *driver(const char *name) {
  static void *library = dlopen("libcuda.so.1", RTLD_NOW);
  return library ? reinterpret_cast<F *>(dlsym(library, name)) : nullptr;
}
} // namespace

extern "C" {
// Whether the library is in this process, by its file name.
bool dmdr_is_open(const char *name) { return dlopen(name, RTLD_NOW | RTLD_NOLOAD) != nullptr; }

// Opens the library in `path` for good; its kernels register themselves. Returns nullptr, or why not.
char *dmdr_open_library(const char *path) {
  if (dlopen(path, RTLD_NOW | RTLD_GLOBAL)) return nullptr;
  const char *message = dlerror();
  return strdup(message ? message : "unknown");
}

// The file of the libtorch that this process has.
char *dmdr_libtorch_file() {
  Dl_info info;
  void *known = reinterpret_cast<void *>(&c10::GetAllocator);
  return dladdr(known, &info) && info.dli_fname ? strdup(info.dli_fname) : nullptr;
}

// What the driver supports, such as 13000 for CUDA 13.0; 0 without a driver.
int dmdr_driver_version() {
  int version = 0;
  auto get = driver<int(int *)>("cuDriverGetVersion");
  return get && get(&version) == 0 ? version : 0;
}

// The cards that the driver sees, a line each: bytes of memory, a space, the name. nullptr if it does not start.
char *dmdr_driver_cards() {
  auto init = driver<int(unsigned)>("cuInit");
  auto count = driver<int(int *)>("cuDeviceGetCount");
  auto get = driver<int(int *, int)>("cuDeviceGet");
  auto name = driver<int(char *, int, int)>("cuDeviceGetName");
  auto memory = driver<int(size_t *, int)>("cuDeviceTotalMem_v2");
  int n = 0;
  if (!init || !count || !get || !name || !memory || init(0) != 0 || count(&n) != 0) return nullptr;
  std::string lines;
  for (int i = 0; i < n; ++i) {
    int device = 0;
    char text[256] = "";
    size_t bytes = 0;
    if (get(&device, i) != 0 || name(text, sizeof text, device) != 0 || memory(&bytes, device) != 0) return nullptr;
    lines += std::to_string(bytes) + " " + text + "\n";
  }
  return strdup(lines.c_str());
}
}
