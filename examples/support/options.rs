//! Command line options with a value.

use std::error::Error;

/// Returns the values of these options in order, from `--NAME VALUE` or the default given here. Returns `None` if only
/// help was requested.
pub fn options<const N: usize>(
    help: &str,
    mut known: [(&str, &str); N],
) -> Result<Option<[String; N]>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut values = known.map(|(_, default)| default.to_owned());
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        let place = match &arg {
            Long("help") | Short('h') => {
                println!("{help}");
                return Ok(None);
            }
            Long(name) => known.iter_mut().position(|(known, _)| known == name),
            _ => None,
        };
        match place {
            Some(place) => values[place] = parser.value()?.string()?,
            None => return Err(arg.unexpected().into()),
        }
    }
    Ok(Some(values))
}
