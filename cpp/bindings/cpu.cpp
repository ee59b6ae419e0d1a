// nettrim._cpu: which of the compiled variants this machine can run. Built for the oldest CPU, for
// it is imported before anything is known; without pybind11, which takes seconds to compile.
#define PY_SSIZE_T_CLEAN
#include "cpu.hpp"

#include <Python.h>

namespace {

int execute(PyObject* module) {
  const nettrim::Features features = nettrim::detect_features();
  if (PyModule_AddObjectRef(module, "avx2", features.avx2 ? Py_True : Py_False) < 0) return -1;
  return PyModule_AddObjectRef(module, "avx512", features.avx512 ? Py_True : Py_False);
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(&execute)},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_cpu", nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModuleDef_Init(&definition); }
