// Memory that is freed and asked for again.
#pragma once

#include <cstdlib>

namespace nettrim {

// The most that it can be had to keep, of a limit of 32 MiB.
constexpr std::size_t kMostKept = 31 << 20;

// glibc keeps what is freed as far as it is not larger than the largest block that was freed
// before. Without one, every matrix of some size is given back to the system and its page faults
// are paid again: a third of a step of interior points with 600 coefficients, an eighth of an
// elimination among 1,000 features.
inline void keep_freed_memory(std::size_t bytes) {
  auto* block = static_cast<char*>(std::malloc(bytes));
  if (block != nullptr) *static_cast<volatile char*>(block) = 0;  // or the compiler leaves both out
  std::free(block);
}

}  // namespace nettrim
