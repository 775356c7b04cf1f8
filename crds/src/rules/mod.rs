//! Every validation rule once: its field, its schema or CEL form, and its message.
//!
//! The API server runs the form that is written into the CRDs. For objects that never meet an API server
//! `lvs-plan::validate` has a Rust twin of each rule: an exhaustive `match` over the enums of this module, so
//! that a rule in one form only does not compile. Both report the message that stands here.
//!
//! Rules on one field are guarded by each other, so that one mistake gives one message.

#[cfg(any(test, feature = "test-cases"))]
pub mod cases;
mod director;
mod health_check;
mod real_server;
mod schema;
#[cfg(test)]
mod tests;
mod virtual_service;

pub use director::{DirectorRule, MAX_TIMEOUT_SECONDS};
pub use health_check::{
    HealthCheckRule, HttpRule, MAX_ANSWER, MAX_CA, MAX_DATAGRAM, MAX_ENTRIES, MAX_REGEX, MAX_REGEX_MEMORY,
    Scheme, TlsPlace, TlsRule, of_health_check,
};
pub use real_server::{MAX_THRESHOLD, MAX_WEIGHT, RealServerRule};
pub use virtual_service::{
    MAX_DRAIN_SECONDS, MAX_EXPRESSIONS, MAX_PERSISTENCE_SECONDS, MAX_PORTS, VirtualServiceRule,
};

use schemars::Schema;

use crate::schema::tidy;

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The schema node that carries it; `[]` stands for the items of a list: `spec.ports[].port`.
    pub at: &'static str,
    /// The field that is to blame: `at`, or a field below it. In a report `[]` carries an index.
    pub field: &'static str,
    /// How the API server checks it.
    pub check: Check,
    /// Names the field, says the rule and what to do.
    pub message: &'static str,
}

/// How the API server checks a rule.
///
/// What `OpenAPI` can say is said in `OpenAPI`, because editors and linters read it too; there the API server
/// has words of its own. All else is CEL with our message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A CEL expression that holds for `self`, the value at the rule's node.
    Cel(&'static str),
    /// A whole number from the first to the second, both included.
    Range(i64, i64),
    /// A list of at most so many items.
    MaxItems(u64),
    /// A list in which no two items agree in all of these fields (`x-kubernetes-list-type: map`).
    UniqueBy(&'static [&'static str]),
    /// A list of at most so many items without a repetition (`x-kubernetes-list-type: set`).
    UniqueOf(u64),
    /// Text of at most so many characters.
    MaxLength(u64),
    /// Text of at most so many characters for which a CEL expression holds: the length bounds what it may
    /// cost.
    Text(u64, &'static str),
    /// Not at all: CEL cannot say it. The object is stored, and its condition `Accepted` is False.
    Ours,
}

impl Check {
    /// Words of which the API server's message has at least one where the message is not ours.
    pub fn words_of_the_api_server(self) -> &'static [&'static str] {
        match self {
            Self::Cel(_) | Self::Ours => &[],
            Self::Range(..) => &["should be greater than or equal to", "should be less than or equal to"],
            Self::MaxItems(_) => &["must have at most"],
            Self::UniqueBy(_) => &["Duplicate value"],
            Self::UniqueOf(_) => &["Duplicate value", "must have at most"],
            Self::MaxLength(_) | Self::Text(..) => &["Too long"],
        }
    }
}

/// Makes an enum of rules with one variant for each, so that code which handles them has to handle all. Rules
/// that hold at two places of an object alike are written once, with paths below the place.
macro_rules! rules {
    (
        $(#[$about:meta])*
        $name:ident
        $($(#[$why:meta])* $rule:ident { at: $at:literal, field: $field:literal, $check:expr, $message:literal })+
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$why])* $rule,)+
        }

        impl $name {
            /// All rules of this kind, in the order in which they are reported.
            pub const ALL: &'static [Self] = &[$(Self::$rule),+];

            /// The rule itself.
            pub fn rule(self) -> $crate::rules::Rule {
                match self {
                    $(Self::$rule => {
                        $crate::rules::Rule { at: $at, field: $field, check: $check, message: $message }
                    })+
                }
            }
        }
    };
    (
        $(#[$about:meta])*
        $name:ident of $place:ident { $one:ident = $one_path:literal, $other:ident = $other_path:literal }
        $($(#[$why:meta])* $rule:ident { at: $at:literal, field: $field:literal, $check:expr, $message:literal })+
    ) => {
        /// Where the rules hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $place {
            #[doc = concat!("At `", $one_path, "`.")]
            $one,
            #[doc = concat!("At `", $other_path, "`.")]
            $other,
        }

        impl $place {
            /// Both places.
            pub const ALL: &'static [Self] = &[Self::$one, Self::$other];
        }

        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$why])* $rule,)+
        }

        impl $name {
            /// All rules of this kind, in the order in which they are reported.
            pub const ALL: &'static [Self] = &[$(Self::$rule),+];

            /// The rule itself, at one of its places.
            pub fn rule(self, place: $place) -> $crate::rules::Rule {
                let (at, field, check, message) = match (self, place) {
                    $(
                        (Self::$rule, $place::$one) => {
                            (concat!($one_path, $at), concat!($one_path, $field), $check, $message)
                        }
                        (Self::$rule, $place::$other) => {
                            (concat!($other_path, $at), concat!($other_path, $field), $check, $message)
                        }
                    )+
                };
                $crate::rules::Rule { at, field, check, message }
            }
        }
    };
}
use rules;

/// All rules of a virtual service, those of its health check too.
pub fn of_virtual_service() -> impl Iterator<Item = Rule> {
    VirtualServiceRule::ALL.iter().map(|rule| rule.rule()).chain(of_health_check())
}

/// All rules of a real server, those of its health check too.
pub fn of_real_server() -> impl Iterator<Item = Rule> {
    RealServerRule::ALL.iter().map(|rule| rule.rule()).chain(of_health_check())
}

/// All rules of a Director.
pub fn of_director() -> impl Iterator<Item = Rule> {
    DirectorRule::ALL.iter().map(|rule| rule.rule())
}

/// Writes the rules of a virtual service into the schema of its spec.
pub(crate) fn virtual_service_schema(schema: &mut Schema) {
    tidy(schema);
    of_virtual_service().for_each(|rule| schema::add(schema, rule));
}

/// Writes the rules of a real server into the schema of its spec.
pub(crate) fn real_server_schema(schema: &mut Schema) {
    tidy(schema);
    of_real_server().for_each(|rule| schema::add(schema, rule));
}

/// Writes the rules of a Director into the schema of its spec.
pub(crate) fn director_schema(schema: &mut Schema) {
    tidy(schema);
    of_director().for_each(|rule| schema::add(schema, rule));
}
