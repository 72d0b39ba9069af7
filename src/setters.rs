//! Builder-style setters of configurations.

/// Generates a documented setter for each of these fields; used within an `impl`.
macro_rules! setters {
    ($($(#[$attribute:meta])* $name:ident: $type:ty),* $(,)?) => {$(
        $(#[$attribute])*
        #[doc = concat!("Sets [`", stringify!($name), "`](Self::", stringify!($name), ").")]
        #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.$name = $name;
            self
        }
    )*};
}
pub(crate) use setters;
