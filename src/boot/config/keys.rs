//! Reads sections one by one and tells unknown keys by their nearest name.

use crate::gateway::settings::{
    Fault, RawDeadlines, RawGateway, RawModel, RawParams, RawPrice, RawProvider, RawRoute, RawTarget, RawTask, RawTls,
    nearest,
};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const SECTIONS: [&str; 12] = [
    "state_dir",
    "gateway",
    "admin",
    "log",
    "otlp",
    "providers",
    "targets",
    "tasks",
    "routes",
    "deadlines",
    "models",
    "passthrough",
];

/// Tells every top-level key that is no section.
pub fn known_keys(tree: &Map<String, Value>, faults: &mut Vec<Fault>) {
    for key in tree.keys().filter(|key| !SECTIONS.contains(&key.as_str())) {
        faults.push(unknown(key, key, &SECTIONS));
    }
}

/// Reads one section; unknown keys and a wrong type become faults.
pub fn section<T: DeserializeOwned + Default>(tree: &Map<String, Value>, name: &str, faults: &mut Vec<Fault>) -> T {
    tree.get(name).map_or_else(T::default, |value| read(value, name, faults))
}

/// Reads a section of named entries, each on its own.
pub fn entries<T: DeserializeOwned + Default>(
    tree: &Map<String, Value>,
    name: &str,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, T> {
    match tree.get(name) {
        None => BTreeMap::new(),
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(entry, value)| (entry.clone(), read(value, &format!("{name}.{entry}"), faults)))
            .collect(),
        Some(_) => {
            faults.push(Fault::new(name, "is no table", format!("write [{name}.NAME]")));
            BTreeMap::new()
        }
    }
}

fn read<T: DeserializeOwned + Default>(value: &Value, at: &str, faults: &mut Vec<Fault>) -> T {
    let mut ignored = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let outcome: Result<T, _> = serde_ignored::deserialize(tracked, |path| ignored.push(path.to_string()));
    for path in ignored {
        // `?` stands for the inside of an optional value.
        let path: Vec<&str> = path.split('.').filter(|part| *part != "?").collect();
        let full = format!("{at}.{}", path.join("."));
        let (last, parents) = path.split_last().expect("a path has a last part");
        faults.push(unknown(&full, last, fields_at::<T>(parents.last().copied())));
    }
    outcome.unwrap_or_else(|error| {
        let path = track.path().to_string();
        let path = if path == "." { at.to_owned() } else { format!("{at}.{path}") };
        faults.push(Fault::new(path, error.to_string(), "see config/example.toml for its form"));
        T::default()
    })
}

fn unknown(full: &str, asked: &str, known: &[&str]) -> Fault {
    let near = nearest(asked, known.iter().copied(), 1);
    let fix = match near.first() {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("remove it; known here: {}", known.join(", ")),
    };
    Fault::new(full, "unknown key", fix)
}

/// The keys that may stand in `T`, or in the table `parent` inside it.
fn fields_at<T: DeserializeOwned>(parent: Option<&str>) -> &'static [&'static str] {
    match parent {
        None => fields_of::<T>(),
        Some("deadlines") => fields_of::<RawDeadlines>(),
        Some("params") => fields_of::<RawParams>(),
        Some("price") => fields_of::<RawPrice>(),
        Some("tls") => fields_of::<RawTls>(),
        Some("connect" | "send" | "first_token" | "idle" | "progress" | "total") => &["hard"],
        Some(_) => &[],
    }
}

/// The field names that a derived `Deserialize` asks for, so that no list of
/// them has to be kept by hand.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Probe<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = serde::de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only asked for its fields"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }
        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Probe(&mut fields));
    fields
}

/// Every key of the configuration, with `NAME` for the names of entries; the
/// example file is held against it.
#[must_use]
pub fn all_keys() -> Vec<String> {
    let deadlines = fields_of::<RawDeadlines>();
    let mut keys = vec!["state_dir".to_owned(), "passthrough.NAME".to_owned()];
    let mut add = |section: &str, fields: &[&str]| {
        for field in fields {
            match *field {
                "deadlines" => keys.extend(deadlines.iter().map(|clock| format!("{section}.deadlines.{clock}"))),
                "params" => keys.extend(fields_of::<RawParams>().iter().map(|name| format!("{section}.params.{name}"))),
                "tls" => keys.extend(fields_of::<RawTls>().iter().map(|name| format!("{section}.tls.{name}"))),
                "price" => keys.extend(fields_of::<RawPrice>().iter().map(|name| format!("{section}.price.{name}"))),
                field => keys.push(format!("{section}.{field}")),
            }
        }
    };
    add("gateway", fields_of::<RawGateway>());
    add("admin", fields_of::<super::RawAdmin>());
    add("log", fields_of::<super::RawLog>());
    add("otlp", fields_of::<super::otlp::RawOtlp>());
    add("providers.NAME", fields_of::<RawProvider>());
    add("targets.NAME", fields_of::<RawTarget>());
    add("tasks.NAME", fields_of::<RawTask>());
    add("routes.NAME", fields_of::<RawRoute>());
    add("models.NAME", fields_of::<RawModel>());
    add("deadlines", deadlines);
    keys
}
