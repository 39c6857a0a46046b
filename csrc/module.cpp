// erprm._core: the Python face of the pure C++ core; what each part promises stands in erprm/_core.pyi.
#include "bindings.hpp"

PYBIND11_MODULE(_core, m) {
    m.doc() = "Completion bookkeeping, packing and prefix trees in C++.";
    erprm::bind_ledger(m);
    erprm::bind_tokens(m);
}
