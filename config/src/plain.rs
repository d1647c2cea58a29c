//! The bridge between a checked [`Value`] and the Rust type a setting is kept in.
//!
//! Each kept type has one reading and one spelling, so that showing a setting and reading it back are inverse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::settings::{Devices, KvDtype, LogFormat, Strategy};
use crate::value::Value;

/// A type that settings are kept in.
pub(crate) trait Plain: Sized {
    /// The value that reads back as `self`.
    fn to_value(&self) -> Value;
    /// `None` when the value is of another kind, which the key table's test rules out.
    fn from_value(value: &Value) -> Option<Self>;
}

/// A number of bytes, told apart from a count by how it is shown.
pub(crate) struct ByteCount(pub(crate) u64);

macro_rules! plain {
    ($kept:ty, $variant:ident) => {
        impl Plain for $kept {
            fn to_value(&self) -> Value {
                Value::$variant(Clone::clone(self))
            }
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => Some(Clone::clone(inner)),
                    _ => None,
                }
            }
        }
    };
}

plain!(bool, Flag);
plain!(u64, Count);
plain!(f64, Ratio);
plain!(Duration, Time);
plain!(SocketAddr, Address);
plain!(PathBuf, Path);
plain!(String, Text);
plain!(Vec<String>, List);

impl Plain for u32 {
    fn to_value(&self) -> Value {
        Value::Count(u64::from(*self))
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Count(count) | Value::Bytes(count) => Self::try_from(*count).ok(),
            _ => None,
        }
    }
}

impl Plain for ByteCount {
    fn to_value(&self) -> Value {
        Value::Bytes(self.0)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Count(bytes) | Value::Bytes(bytes) => Some(Self(*bytes)),
            _ => None,
        }
    }
}

impl<T: Plain> Plain for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Absent, Plain::to_value)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Absent => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl Plain for Devices {
    fn to_value(&self) -> Value {
        match self {
            Self::Auto => Value::Text("auto".to_owned()),
            Self::Count(count) => count.to_value(),
        }
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(_) => Some(Self::Auto),
            value => u32::from_value(value).map(Self::Count),
        }
    }
}

impl Plain for Strategy {
    fn to_value(&self) -> Value {
        Value::Text(self.name().to_owned())
    }
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else {
            return None;
        };
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.name() == text)
    }
}

impl Plain for KvDtype {
    fn to_value(&self) -> Value {
        Value::Text(self.name().to_owned())
    }
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else {
            return None;
        };
        [Self::F32, Self::F16, Self::Bf16]
            .into_iter()
            .find(|dtype| dtype.name() == text)
    }
}

impl Plain for LogFormat {
    fn to_value(&self) -> Value {
        let name = match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        };
        Value::Text(name.to_owned())
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) if text == "auto" => Some(Self::Auto),
            Value::Text(text) if text == "text" => Some(Self::Text),
            Value::Text(text) if text == "json" => Some(Self::Json),
            _ => None,
        }
    }
}
