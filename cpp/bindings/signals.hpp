// What Python says while the GIL is released: Ctrl-C, and the caller's callback.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <functional>

namespace nettrim::bindings {

namespace py = pybind11;

// Asks Python for signals such as Ctrl-C, a few times a second. A signal handler that raises stops
// the solve; the exception is dropped there, for the answer says "interrupted".
class SignalCheck {
 public:
  bool operator()() {
    const auto now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return false;
    last_ = now;
    const py::gil_scoped_acquire lock;
    if (PyErr_CheckSignals() == 0) return false;
    if (!PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) throw py::error_already_set();
    PyErr_Clear();
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

// `call` hands the callback the numbers of a progress; what it returns, if true, stops the solve.
template <class Progress, class Call>
std::function<bool(const Progress&)> with_lock(const py::object& callback, Call call) {
  if (callback.is_none()) return nullptr;
  return [&callback, call](const Progress& p) {
    const py::gil_scoped_acquire lock;
    return py::bool_(call(callback, p)).template cast<bool>();
  };
}

}  // namespace nettrim::bindings
