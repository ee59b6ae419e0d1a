// Memory that is freed and asked for again.
#pragma once

#include <cstdlib>

namespace nettrim {

// glibc keeps what is freed as far as it is not larger than the largest block that was freed
// before, of 32 MiB at most. Without one, every matrix of some size is given back to the system
// and its page faults are paid again: a third of a step of interior points with 600 coefficients,
// an eighth of an elimination among 1,000 features.
inline void keep_freed_memory(std::size_t bytes) {
  auto* block = static_cast<char*>(std::malloc(bytes));
  if (block != nullptr) *static_cast<volatile char*>(block) = 0;  // or the compiler leaves both out
  std::free(block);
}

}  // namespace nettrim
