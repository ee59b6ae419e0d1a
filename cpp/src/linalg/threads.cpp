#include "nettrim/threads.hpp"

#include <atomic>

#ifndef _WIN32
#include <pthread.h>
#endif

namespace nettrim {
namespace {

std::atomic<bool> alone = false;

#ifndef _WIN32
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, work_alone);
#endif

}  // namespace

bool may_start_threads() { return !alone; }

void work_alone() { alone = true; }

}  // namespace nettrim
