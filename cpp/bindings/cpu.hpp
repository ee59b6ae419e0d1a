// Which of the compiled variants this machine can run. Keep the checks equal to the flags in
// CMakeLists.txt.
#pragma once

#if defined(_MSC_VER) && defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace nettrim {

struct Features {
  bool avx2 = false;
  bool avx512 = false;
};

#if defined(__x86_64__)

// The builtin also asks the operating system whether it saves the wide registers.
inline Features detect_features() {
  __builtin_cpu_init();
  Features f;
  f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
  return f;
}

#elif defined(_MSC_VER) && defined(_M_X64)

inline bool bit(int word, int index) { return ((word >> index) & 1) != 0; }

inline Features detect_features() {
  int leaf[4];
  __cpuid(leaf, 0);
  if (leaf[0] < 7) return {};
  __cpuid(leaf, 1);
  const bool fma = bit(leaf[2], 12);
  const bool os_saves_registers = bit(leaf[2], 27);
  if (!fma || !os_saves_registers) return {};
  const unsigned long long saved = _xgetbv(0);
  __cpuidex(leaf, 7, 0);
  const int b = leaf[1];
  Features f;
  f.avx2 = (saved & 0x6) == 0x6 && bit(b, 5);
  // F, DQ, CD, BW, VL; /arch:AVX512 enables the same five.
  f.avx512 = f.avx2 && (saved & 0xe6) == 0xe6 && bit(b, 16) && bit(b, 17) && bit(b, 28) &&
             bit(b, 30) && bit(b, 31);
  return f;
}

#else

inline Features detect_features() { return {}; }

#endif

}  // namespace nettrim
