//! Messages as a target takes them that departs from OpenAI in their fields.
//!
//! Owns fields that it refuses and the form of its call ids. Refuses to know
//! which target that is (`vendors`). Invariants: a message that fits stays the
//! bytes it came in; a call and its results go by one id, and by the same in every turn.

use crate::wire::request::Fields;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

type Field = (String, Box<RawValue>);

/// Messages that were made to fit.
#[derive(Debug)]
pub struct Fitted<T> {
    pub whole: T,
    /// Fields that were left out, each with how often.
    pub dropped: BTreeMap<String, usize>,
}

/// What a target does not take.
#[derive(Clone, Copy)]
pub struct Misfit<'a> {
    /// Fields of a message, whatever its role.
    pub refused: &'a [&'a str],
    /// Whether an id of a call is as it must be.
    pub takes_id: &'a dyn Fn(&str) -> bool,
}

/// The fields of a request with messages that fit. `None`: they do already.
#[must_use]
pub fn fit(fields: &[Field], misfit: Misfit<'_>) -> Option<Fitted<Vec<Field>>> {
    let place = fields.iter().position(|(key, _)| key == "messages")?;
    let messages: Vec<Box<RawValue>> = serde_json::from_str(fields[place].1.get()).ok()?;
    let (mut dropped, mut changed) = (BTreeMap::new(), false);
    let fitted: Vec<Box<RawValue>> = messages
        .into_iter()
        .map(|message| match fit_one(&message, misfit, &mut dropped) {
            Some(fitted) => {
                changed = true;
                fitted
            }
            None => message,
        })
        .collect();
    changed.then(|| {
        let mut whole = fields.to_vec();
        whole[place].1 = serde_json::value::to_raw_value(&fitted).expect("a list of JSON is JSON");
        Fitted { whole, dropped }
    })
}

/// [`fit`] of a body.
#[must_use]
pub fn fit_body(body: &Bytes, misfit: Misfit<'_>) -> Option<Fitted<Bytes>> {
    let Fields(fields) = serde_json::from_slice(body).ok()?;
    let Fitted { whole, dropped } = fit(&fields, misfit)?;
    Some(Fitted { whole: Bytes::from(Fields(whole).to_raw().get().to_owned()), dropped })
}

fn fit_one(message: &RawValue, misfit: Misfit<'_>, dropped: &mut BTreeMap<String, usize>) -> Option<Box<RawValue>> {
    let Fields(mut fields) = serde_json::from_str(message.get()).ok()?;
    let mut changed = false;
    fields.retain(|(key, value)| {
        let goes = misfit.refused.contains(&key.as_str());
        // Packages write what is not there as null.
        if goes && value.get() != "null" {
            *dropped.entry(key.clone()).or_default() += 1;
        }
        changed |= goes;
        !goes
    });
    for (key, value) in &mut fields {
        let fitted = match key.as_str() {
            "tool_call_id" => fit_id(value, misfit),
            "tool_calls" => fit_calls(value, misfit),
            _ => None,
        };
        if let Some(fitted) = fitted {
            *value = fitted;
            changed = true;
        }
    }
    changed.then(|| Fields(fields).to_raw())
}

fn fit_calls(calls: &RawValue, misfit: Misfit<'_>) -> Option<Box<RawValue>> {
    let calls: Vec<Box<RawValue>> = serde_json::from_str(calls.get()).ok()?;
    let mut changed = false;
    let one = |call: Box<RawValue>| {
        let Ok(Fields(mut fields)) = serde_json::from_str::<Fields>(call.get()) else { return call };
        let Some((_, id)) = fields.iter_mut().find(|(key, _)| key == "id") else { return call };
        let Some(fitted) = fit_id(id, misfit) else { return call };
        *id = fitted;
        changed = true;
        Fields(fields).to_raw()
    };
    let calls: Vec<Box<RawValue>> = calls.into_iter().map(one).collect();
    changed.then(|| serde_json::value::to_raw_value(&calls).expect("a list of JSON is JSON"))
}

/// Nine letters and digits, which suit every form that is known, made from the id alone.
fn fit_id(id: &RawValue, misfit: Misfit<'_>) -> Option<Box<RawValue>> {
    let id: String = serde_json::from_str(id.get()).ok()?;
    if (misfit.takes_id)(&id) {
        return None;
    }
    // 43 characters, of which one in 32 is no letter or digit.
    let text = STANDARD_NO_PAD.encode(Sha256::digest(id.as_bytes()));
    let short: String = text.chars().filter(char::is_ascii_alphanumeric).take(9).collect();
    serde_json::value::to_raw_value(&short).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn nine(id: &str) -> bool {
        id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    const MISFIT: Misfit<'static> = Misfit { refused: &["reasoning", "refusal"], takes_id: &nine };

    #[test]
    fn calls_and_results_keep_to_one_id_of_the_form_and_refused_fields_go() {
        let body = r#"{"model":"m","messages":[{"role":"user", "content":"x"},
            {"role":"assistant","reasoning":"hm","refusal":null,"tool_calls":[{"id":"call_0123456789abcdef","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}},
              {"id":"AbCdEf012","type":"function","function":{"name":"g","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"call_0123456789abcdef","content":"1"},{"role":"tool","tool_call_id":"AbCdEf012","content":"2"}]}"#;
        let Fitted { whole, dropped } = fit_body(&Bytes::from_static(body.as_bytes()), MISFIT).expect("a misfit");
        assert!(memchr::memmem::find(&whole, br#"{"role":"user", "content":"x"}"#).is_some(), "as it came");
        assert!(memchr::memmem::find(&whole, br#""arguments":"{\"a\": 1}""#).is_some());
        let value: Value = serde_json::from_slice(&whole).expect("JSON");
        let calls = &value["messages"][1]["tool_calls"];
        assert!(nine(calls[0]["id"].as_str().expect("an id")));
        assert_eq!(calls[0]["id"], value["messages"][2]["tool_call_id"]);
        assert_eq!(
            (&calls[1]["id"], &value["messages"][3]["tool_call_id"]),
            (&json!("AbCdEf012"), &json!("AbCdEf012"))
        );
        assert!(value["messages"][1].get("reasoning").is_none() && value["messages"][1].get("refusal").is_none());
        assert_eq!(dropped, BTreeMap::from([("reasoning".to_owned(), 1)]), "null is nothing");
        assert!(fit_body(&whole, MISFIT).is_none(), "once is enough");
    }

    #[test]
    fn what_is_no_conversation_stays() {
        for body in ["{}", "[]", r#"{"messages":3}"#, r#"{"messages":[1,{"tool_calls":2,"tool_call_id":[]}]}"#] {
            assert!(fit_body(&Bytes::from_static(body.as_bytes()), MISFIT).is_none(), "{body}");
        }
    }
}
