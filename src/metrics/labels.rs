//! Label values as closed sets, and counters that start at 0.
//!
//! `rate()` and `increase()` need two samples of a series and miss the event that creates it.
//! Therefore the owner of a counter initializes it with all its label values.

use prometheus::{
    HistogramVec,
    core::{Atomic, GenericCounterVec},
};

/// Defines a function that returns the label of a value, and the list of all its labels. Both come
/// from the same `match`, so the list is complete.
///
/// Arms after a semicolon take their label from another type, whose list follows `of`. The list is
/// then a list of lists.
macro_rules! labels {
    (
        $(#[$attribute:meta])*
        $visibility:vis const fn $name:ident($this:ident: $of:ty) in $list:ident {
            $($pattern:pat => $label:expr),+ $(,)?
        }
    ) => {
        /// Every label of these values.
        $visibility const $list: &[&str] = &[$($label),+];

        $(#[$attribute])*
        $visibility const fn $name($this: $of) -> &'static str {
            match $this { $($pattern => $label),+ }
        }
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis const fn $name:ident($($this:tt)+) in $list:ident {
            $($pattern:pat => $label:expr),+ $(,)?
        }
    ) => {
        /// Every label of this type.
        $visibility const $list: &'static [&'static str] = &[$($label),+];

        $crate::metrics::labels!(@function $(#[$attribute])* $visibility $name $($this)+ {
            $($pattern => $label,)+
        });
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis const fn $name:ident($($this:tt)+) in $list:ident {
            $($pattern:pat => $label:expr),+ $(,)?
            ; $($inner:pat => ($value:expr) of $labels:expr),+ $(,)?
        }
    ) => {
        /// Every label of this type, in lists.
        $visibility const $list: &'static [&'static [&'static str]] =
            &[&[$($label),+], $($labels),+];

        $crate::metrics::labels!(@function $(#[$attribute])* $visibility $name $($this)+ {
            $($pattern => $label,)+
            $($inner => $value,)+
        });
    };
    (
        @function $(#[$attribute:meta])* $visibility:vis $name:ident & $this:ident {
            $($pattern:pat => $label:expr,)+
        }
    ) => {
        $(#[$attribute])*
        $visibility const fn $name(&$this) -> &'static str {
            match $this { $($pattern => $label),+ }
        }
    };
    (
        @function $(#[$attribute:meta])* $visibility:vis $name:ident $this:ident {
            $($pattern:pat => $label:expr,)+
        }
    ) => {
        $(#[$attribute])*
        $visibility const fn $name($this) -> &'static str {
            match $this { $($pattern => $label),+ }
        }
    };
}
pub(crate) use labels;

/// A metric with labels, whose series can be created before their first event.
pub trait Series {
    /// Creates the series with these label values, if it doesn't exist yet.
    fn create(&self, values: &[&str]);

    /// Creates a series for each value of a metric's only label.
    fn initialize<'l>(&self, values: impl IntoIterator<Item = &'l str>) {
        values.into_iter().for_each(|value| self.create(&[value]));
    }
}

impl<P: Atomic> Series for GenericCounterVec<P> {
    fn create(&self, values: &[&str]) {
        drop(self.with_label_values(values));
    }
}

impl Series for HistogramVec {
    fn create(&self, values: &[&str]) {
        drop(self.with_label_values(values));
    }
}

#[cfg(test)]
mod tests {
    labels! {
        const fn parity(number: u8) in PARITIES {
            0 | 2 => "even",
            _ => "odd",
        }
    }

    enum Inner {
        A,
        B(u8),
    }

    enum Outer {
        C,
        D,
        In(Inner),
    }

    impl Inner {
        labels! {
            const fn label(&self) in LABELS {
                Self::A => "a",
                Self::B(0..=9) => "small",
                Self::B(_) => "large",
            }
        }
    }

    impl Outer {
        labels! {
            const fn label(&self) in LABELS {
                Self::C => "c",
                Self::D => "d";
                Self::In(inner) => (inner.label()) of Inner::LABELS,
            }
        }
    }

    #[test]
    fn label_list_contains_every_label() {
        assert_eq!((PARITIES, parity(2)), (&["even", "odd"][..], "even"));
        assert_eq!(Inner::LABELS, ["a", "small", "large"]);
        assert_eq!(Outer::LABELS, [&["c", "d"][..], &["a", "small", "large"]]);
        let outer = [Outer::C, Outer::D, Outer::In(Inner::A), Outer::In(Inner::B(10))];
        assert_eq!(outer.map(|outer| outer.label()), ["c", "d", "a", "large"]);
        assert_eq!(Inner::B(9).label(), "small");
    }
}
