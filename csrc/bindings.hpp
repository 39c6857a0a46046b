// The parts of erprm._core, each bound in its own file.
#pragma once

#include <pybind11/pybind11.h>

namespace erprm {

void bind_ledger(pybind11::module_& m);
void bind_tokens(pybind11::module_& m);

}  // namespace erprm
