//! `NumPy` arrays in and out: float32, C-contiguous, never converted silently.

use numpy::{
    Element, PyArray1, PyArray2, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods, dtype,
};
use pocket_model::Tensor;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Borrows a float32 array without copying it.
///
/// # Errors
/// `TypeError` for anything but a float32 `numpy.ndarray`, `ValueError` for one that is not
/// C-contiguous or not aligned. `name` is the argument that the message speaks of.
pub(crate) fn float32_array<'py>(value: &Bound<'py, PyAny>, name: &str) -> PyResult<PyReadonlyArrayDyn<'py, f32>> {
    let py = value.py();
    let Ok(array) = value.cast::<PyUntypedArray>() else {
        let found = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "{name} must be a float32 numpy.ndarray, found {found}; convert it with \
             numpy.asarray({name}, dtype=numpy.float32)"
        )));
    };
    let found = array.dtype();
    if !found.is_equiv_to(&dtype::<f32>(py)) {
        return Err(PyTypeError::new_err(format!(
            "{name} must hold float32, found {found}; convert it with {name}.astype(numpy.float32) \
             (integer samples must also be scaled to -1..1)"
        )));
    }
    if !array.is_c_contiguous() || !array.is_aligned() {
        return Err(PyValueError::new_err(format!(
            "{name} must be C-contiguous and aligned; pass numpy.ascontiguousarray({name})"
        )));
    }
    value.extract::<PyReadonlyArrayDyn<'py, f32>>()
}

/// The samples of a mono signal, shape `[samples]` or `[1, samples]`.
///
/// # Errors
/// `ValueError` for another shape.
pub(crate) fn mono_samples<'a>(array: &'a PyReadonlyArrayDyn<'_, f32>, name: &str) -> PyResult<&'a [f32]> {
    match array.shape() {
        [_] | [1, _] => contiguous(array),
        shape => Err(PyValueError::new_err(format!(
            "{name} must be mono, of shape [samples] or [1, samples], found {shape:?}; average \
             its channels first"
        ))),
    }
}

/// The values of a matrix of shape `[rows, width]`.
///
/// # Errors
/// `ValueError` for another shape.
pub(crate) fn rows_of<'a>(array: &'a PyReadonlyArrayDyn<'_, f32>, width: usize, name: &str) -> PyResult<&'a [f32]> {
    match array.shape() {
        [_, columns] if *columns == width => contiguous(array),
        shape => Err(PyValueError::new_err(format!("{name} must have shape [frames, {width}], found {shape:?}"))),
    }
}

/// The tensor `name` of a float32 or int64 array, copied.
///
/// # Errors
/// `TypeError` for anything else, `ValueError` for an array that is not C-contiguous or not aligned.
pub(crate) fn tensor_from_array(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Tensor> {
    if let Ok(array) = value.extract::<PyReadonlyArrayDyn<'_, i64>>() {
        let values = array.as_slice().map_err(|error| PyValueError::new_err(format!("{name}: {error}")))?;
        return Ok(Tensor::from_i64(name, array.shape(), values));
    }
    let array = float32_array(value, name)?;
    Ok(Tensor::from_f32(name, array.shape(), contiguous(&array)?.to_vec()))
}

fn contiguous<'a>(array: &'a PyReadonlyArrayDyn<'_, f32>) -> PyResult<&'a [f32]> {
    array.as_slice().map_err(|error| PyValueError::new_err(error.to_string()))
}

/// A new array of shape `[values]` that takes over the vector.
pub(crate) fn vector<T: Element>(py: Python<'_>, values: Vec<T>) -> Bound<'_, PyArray1<T>> {
    PyArray1::from_vec(py, values)
}

/// A new array of shape `[values / width, width]` that takes over the vector.
///
/// # Errors
/// `ValueError` if `width` does not divide the number of values.
pub(crate) fn matrix<T: Element>(py: Python<'_>, values: Vec<T>, width: usize) -> PyResult<Bound<'_, PyArray2<T>>> {
    let n_rows = values.len().checked_div(width).unwrap_or(0);
    PyArray1::from_vec(py, values).reshape([n_rows, width])
}
