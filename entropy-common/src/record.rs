//! The layout of map records, and its proof.

/// What a record may be made of: types for which every bit pattern is valid.
///
/// # Safety
/// Implement it only for types without padding and without invalid bit patterns.
pub unsafe trait Field: Copy + 'static {}

// SAFETY: integers have neither padding nor invalid bit patterns.
unsafe impl Field for u8 {}
// SAFETY: as above.
unsafe impl Field for u16 {}
// SAFETY: as above.
unsafe impl Field for u32 {}
// SAFETY: as above.
unsafe impl Field for u64 {}
// SAFETY: as above.
unsafe impl Field for i32 {}
// SAFETY: an array of such fields has no padding between them.
unsafe impl<T: Field, const N: usize> Field for [T; N] {}

/// Size of a field's type, for types that are fields.
#[must_use]
pub const fn size_of_field<T: Field>() -> usize {
    size_of::<T>()
}

/// Defines a record that crosses the line between kernel and user space.
///
/// The struct gets `repr(C)` and the compiler proves that its size is the sum of its fields' sizes:
/// padding has to be written out, so no uninitialised byte ever reaches the kernel, where it would
/// break key comparison.
///
/// ```
/// entropy_common::record! {
///     /// Four bytes used, four written out as padding.
///     pub struct Good { pub wide: u64, pub narrow: u32, pub _pad: u32 }
/// }
/// ```
/// Hidden padding does not compile:
/// ```compile_fail
/// entropy_common::record! {
///     /// The compiler would add four bytes here.
///     pub struct Bad { pub wide: u64, pub narrow: u32 }
/// }
/// ```
/// Nor does a type that not every bit pattern is a value of:
/// ```compile_fail
/// entropy_common::record! {
///     /// A bool of 2 is undefined behaviour.
///     pub struct Bad { pub flag: bool }
/// }
/// ```
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ $crate::record::size_of_field::<$type>())*,
            concat!("record ", stringify!($name), " has hidden padding"),
        );
        // SAFETY: the assertion above proves that there is no padding, and every field is a Field.
        unsafe impl $crate::record::Field for $name {}
        #[cfg(feature = "user")]
        // SAFETY: repr(C), no padding, every bit pattern valid (see Field).
        unsafe impl ::aya::Pod for $name {}
    };
}
