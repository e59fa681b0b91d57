//! Embeddings that depend on the text alone.
//!
//! Owns `POST /v1/embeddings`. Refuses to mean anything: near texts are not near
//! each other. Invariant: every vector has length one, and fewer dimensions are
//! the first ones of more, made a unit again, as with the vendor's models.

use super::answer::input_tokens;
use super::refusal::Complaint;
use super::text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// As many as the vendor's small model has.
const DIMENSIONS: usize = 1_536;
/// As many as its large one has.
const DIMENSIONS_MAX: u64 = 3_072;
/// Inputs of one request, the vendor's bound.
const INPUTS_MAX: usize = 2_048;

/// The answer to an embeddings request, and its whole input as text.
pub(super) fn embed(body: &Value) -> Result<(Value, String), Complaint> {
    let dimensions = match &body["dimensions"] {
        Value::Null => DIMENSIONS,
        asked => asked
            .as_u64()
            .filter(|count| (1..=DIMENSIONS_MAX).contains(count))
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| {
                Complaint::invalid(format!("Invalid value for 'dimensions' = {asked}.")).param("dimensions")
            })?,
    };
    let base64 = match body["encoding_format"].as_str() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("Invalid value: '{other}'. Supported values are: 'float' and 'base64'.");
            return Err(Complaint::invalid(message).param("encoding_format").code("invalid_value"));
        }
    };
    let inputs = inputs(&body["input"])?;
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(input, dimensions);
        let embedding = if base64 {
            STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()).into()
        } else {
            json!(vector)
        };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let tokens: usize = inputs.iter().map(|input| input_tokens(input)).sum();
    let answer = json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": body["model"],
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    });
    Ok((answer, inputs.concat()))
}

/// Text, several texts, or either of them as tokens.
fn inputs(input: &Value) -> Result<Vec<String>, Complaint> {
    let unfit = || Complaint::invalid("'$.input' is invalid. Please check the API reference.").param("input");
    let one = |input: &Value| match input {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Array(tokens) if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => Ok(input.to_string()),
        _ => Err(unfit()),
    };
    match input {
        Value::Array(list) if list.len() > INPUTS_MAX => Err(unfit()),
        Value::Array(list) if !list.is_empty() && !list.iter().all(Value::is_u64) => list.iter().map(one).collect(),
        input => one(input).map(|text| vec![text]),
    }
}

fn vector(input: &str, dimensions: usize) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(text::seed(input));
    let numbers: Vec<f32> = (0..dimensions).map(|_| rng.f32() * 2.0 - 1.0).collect();
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    numbers.into_iter().map(|number| number / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_units_and_the_same_for_the_same_text() {
        let (answer, _) = embed(&json!({ "input": ["a", "b", "a"], "dimensions": 8 })).expect("fit");
        let vectors: Vec<Vec<f64>> = (0..3)
            .map(|at| serde_json::from_value(answer["data"][at]["embedding"].clone()).expect("numbers"))
            .collect();
        assert_eq!((vectors[0].len(), &vectors[0]), (8, &vectors[2]));
        assert_ne!(vectors[0], vectors[1]);
        let length: f64 = vectors[0].iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }

    #[test]
    fn base64_holds_the_same_numbers_as_floats() {
        let ask = |format: &str| embed(&json!({ "input": "a", "encoding_format": format })).expect("fit").0;
        let bytes = STANDARD.decode(ask("base64")["data"][0]["embedding"].as_str().expect("text")).expect("base64");
        let numbers: Vec<f32> =
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("chunks of four"))).collect();
        let floats: Vec<f32> = serde_json::from_value(ask("float")["data"][0]["embedding"].clone()).expect("numbers");
        assert_eq!((numbers.len(), numbers), (DIMENSIONS, floats));
    }

    #[test]
    fn what_cannot_be_embedded_is_refused() {
        for body in
            [json!({}), json!({ "input": "" }), json!({ "input": "a", "dimensions": 0 }), json!({ "input": [] })]
        {
            assert!(embed(&body).is_err(), "{body}");
        }
    }
}
