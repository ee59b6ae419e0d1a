// A team of threads and fixed cuts of a range. The thread count is the caller's, and one in a
// forked child.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "nettrim/threads.hpp"
#include "nettrim/types.hpp"

namespace nettrim {

struct Range {
  Index begin, size;
};

// Cuts [0, n) into pieces of about `grain`, as many for each of `threads`.
inline std::vector<Range> cut(Index n, Index grain, int threads) {
  const Index rounds = (n + grain * threads - 1) / (grain * threads);
  const Index pieces = std::clamp<Index>(rounds * threads, 1, std::max<Index>(n, 1));
  std::vector<Range> ranges;
  for (Index k = 0; k < pieces; ++k) {
    const Index begin = n * k / pieces;
    ranges.push_back({begin, n * (k + 1) / pieces - begin});
  }
  return ranges;
}

// body(k, thread) for k in [0, n): always the same k on the same thread, so that equal runs add in
// the same order. The first exception is thrown again when all threads have stopped.
template <class Body>
void parallel_for(Index n, int threads, Body&& body) {
#ifdef _OPENMP
  if (threads > 1 && n > 1 && may_start_threads() && !omp_in_parallel()) {
    std::exception_ptr error;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (Index k = 0; k < n; ++k) {
      try {
        body(k, omp_get_thread_num());
      } catch (...) {
#pragma omp critical(nettrim_error)
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#endif
  (void)threads;
  for (Index k = 0; k < n; ++k) body(k, 0);
}

// The same for pieces of unequal work that share nothing: whichever thread is free takes the next.
template <class Body>
void parallel_for_uneven(Index n, int threads, Body&& body) {
  std::atomic<Index> next = 0;
  parallel_for(threads, threads, [&](Index, int thread) {
    for (Index k = next++; k < n; k = next++) body(k, thread);
  });
}

// body(range, thread), always the same range on the same thread.
template <class Body>
void parallel_over(const std::vector<Range>& ranges, int threads, Body&& body) {
  parallel_for(static_cast<Index>(ranges.size()), threads,
               [&](Index k, int thread) { body(ranges[static_cast<std::size_t>(k)], thread); });
}

// add(range, part) for every range, with one part for each thread; they are added in their order.
template <class Total, class Add>
Total parallel_total(const std::vector<Range>& ranges, int threads, const Total& zero, Add&& add) {
  std::vector<Total> parts(static_cast<std::size_t>(threads), zero);
  parallel_over(ranges, threads,
                [&](Range r, int thread) { add(r, parts[static_cast<std::size_t>(thread)]); });
  for (std::size_t t = 1; t < parts.size(); ++t) parts[0] += parts[t];
  return std::move(parts[0]);
}

// Sum over ranges, one partial sum each, added in their order.
template <class Term>
double parallel_sum(Index n, int threads, Term&& term) {
  std::vector<double> partial(static_cast<std::size_t>(n));
  parallel_for(n, threads, [&](Index k, int) { partial[static_cast<std::size_t>(k)] = term(k); });
  double total = 0;
  for (double part : partial) total += part;
  return total;
}

}  // namespace nettrim
