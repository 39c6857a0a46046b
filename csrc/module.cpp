// erprm._core: the Python face of the pure C++ core; what each part promises stands in its bindings.
#include "bindings.hpp"

PYBIND11_MODULE(_core, m) {
    m.doc() = R"(Completion bookkeeping, packing and prefix trees in C++ (csrc/).

Shapes: N tokens, S rows. Wrong types raise TypeError, wrong values ValueError with the argument's name, what was expected
and what came; then nothing was changed. Lists are taken wherever arrays are; arguments are copied before they are checked,
but for the data set that pack_rows picks from. The GIL is released while C++ works.
)";
    erprm::bind_ledger(m);
    erprm::bind_tokens(m);
}
