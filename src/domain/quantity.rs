//! Quantities as people say them: "230 ms", "1.8 s", "16 MiB", "$0.0123".
//!
//! Owns rounding and units for everything that is read by a person. Refuses
//! machine formats (metrics and JSON keep plain numbers). Invariant: a value
//! that is not zero never reads as zero.

/// Milliseconds in words: "230 ms", "1.8 s", "30 s", "2 min 30 s", "3 h 5 min".
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => {
            let tenths = (ms + 50) / 100;
            if tenths.is_multiple_of(10) {
                format!("{} s", tenths / 10)
            } else {
                format!("{}.{} s", tenths / 10, tenths % 10)
            }
        }
        120_000..7_200_000 => two_units(ms / 1_000, 60, "min", "s"),
        _ => two_units(ms / 60_000, 60, "h", "min"),
    }
}

/// Microseconds in words, for our own share, which stays below a second.
#[must_use]
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => duration(us / 1_000),
    }
}

/// Bytes in words: exact multiples in binary units, anything else as a number.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    UNITS
        .iter()
        .find(|(unit, _)| count >= *unit && count.is_multiple_of(*unit))
        .map_or_else(|| format!("{} bytes", grouped(count)), |(unit, name)| format!("{} {name}", count / unit))
}

/// A count with its thousands set apart: "1,234,567".
#[must_use]
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// US dollars: cents from a dollar up, four places below, "less than $0.0001".
#[must_use]
pub fn usd(amount: f64) -> String {
    if amount >= 1.0 {
        format!("${amount:.2}")
    } else if amount >= 0.0001 {
        format!("${amount:.4}")
    } else if amount > 0.0 {
        "less than $0.0001".to_owned()
    } else {
        "$0".to_owned()
    }
}

fn two_units(count: u64, per: u64, large: &str, small: &str) -> String {
    match (count / per, count % per) {
        (whole, 0) => format!("{whole} {large}"),
        (whole, rest) => format!("{whole} {large} {rest} {small}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_would_say_them() {
        let said = [0, 230, 1_000, 1_849, 30_004, 90_000, 119_960, 150_000, 600_000, 11_100_000];
        let words = said.map(duration);
        let expected = ["0 ms", "230 ms", "1 s", "1.8 s", "30 s", "90 s", "120 s", "2 min 30 s", "10 min", "3 h 5 min"];
        assert_eq!(words, expected);
    }

    #[test]
    fn small_amounts_never_read_as_zero() {
        assert_eq!([usd(0.0), usd(0.000_01), usd(0.0123), usd(12.5)], ["$0", "less than $0.0001", "$0.0123", "$12.50"]);
        assert_eq!([micros(40), micros(1_250), micros(250_000)], ["40 µs", "1.2 ms", "250 ms"]);
    }

    #[test]
    fn counts_and_bytes_stay_exact() {
        assert_eq!([grouped(7), grouped(1_234), grouped(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([bytes(16 << 20), bytes(1_500)], ["16 MiB", "1,500 bytes"]);
    }
}
