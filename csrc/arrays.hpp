// NumPy arrays in and out. Arguments are checked, named in errors and copied while the GIL is held: what another thread does
// to an array afterwards changes nothing. Vectors leave without a copy.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace erprm {

namespace py = pybind11;

inline std::string type_name(const py::handle& value) { return py::str(py::type::of(value).attr("__name__")); }

// A value as T; refused, under the argument's name, when it does not fit.
template <class T>
T fitting(std::int64_t value, const char* name) {
    if (!std::in_range<T>(value)) {
        throw py::value_error(std::string(name) + ": expected " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                              std::to_string(std::numeric_limits<T>::max()) + ", found " + std::to_string(value));
    }
    return static_cast<T>(value);
}

// One whole number.
template <class T>
T whole_number(const py::handle& value, const char* name) {
    const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
    if (!index) {
        throw py::error_already_set();
    }
    int overflow = 0;
    const long long found = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow != 0) {
        throw py::value_error(std::string(name) + ": expected a number of 64 bits, found " + std::string(py::str(index)));
    }
    return fitting<T>(found, name);
}

template <class T>
using Contiguous = py::array_t<T, py::array::c_style | py::array::forcecast>;

// A one-dimensional argument of integers as contiguous T: the caller's own array when it already is, else a copy.
template <class T>
Contiguous<T> array_of(const py::handle& argument, const char* name) {
    const py::array given = py::array::ensure(argument);
    if (!given) {
        PyErr_Clear();
        throw py::type_error(std::string(name) + ": expected an array of integers or a list of them, found " + type_name(argument));
    }
    if (given.ndim() != 1) {
        throw py::value_error(std::string(name) + ": expected one dimension, found " + std::to_string(given.ndim()));
    }
    const char kind = given.dtype().kind();
    if (given.size() != 0 && kind != 'i' && kind != 'u' && kind != 'b') {
        throw py::type_error(std::string(name) + ": expected integers, found " + std::string(py::str(given.dtype())));
    }
    if (py::isinstance<py::array_t<T>>(given) || kind == 'b') {
        return Contiguous<T>::ensure(given);
    }
    const auto wide = Contiguous<std::int64_t>::ensure(given);
    Contiguous<T> fitted(wide.size());
    for (py::ssize_t i = 0; i < wide.size(); ++i) {
        fitted.mutable_data()[i] = fitting<T>(wide.data()[i], name);
    }
    return fitted;
}

// The same as values of one's own.
template <class T>
std::vector<T> values_of(const py::handle& argument, const char* name) {
    const Contiguous<T> array = array_of<T>(argument, name);
    return {array.data(), array.data() + array.size()};
}

// An array that owns the vector.
template <class T>
py::array_t<T> to_array(std::vector<T>&& values) {
    auto held = std::make_unique<std::vector<T>>(std::move(values));
    const auto size = static_cast<py::ssize_t>(held->size());
    const T* data = held->data();
    const py::capsule owner(held.get(), [](void* pointer) { delete static_cast<std::vector<T>*>(pointer); });
    held.release();
    return py::array_t<T>(size, data, owner);
}

// A new array for C++ to fill.
template <class T>
std::pair<py::array_t<T>, std::span<T>> new_array(std::size_t size) {
    py::array_t<T> array(static_cast<py::ssize_t>(size));
    T* data = array.mutable_data();
    return {std::move(array), std::span<T>(data, size)};
}

}  // namespace erprm
