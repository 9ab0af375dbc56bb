use super::from_file;

#[test]
fn prices_stand_by_model_for_a_million_tokens() {
    let config = from_file(
        "[prices.'gpt-4o-mini']\ninput = 0.15\ncached_input = 0.075\noutput = 0.60\n\
         [prices.local]\ninput = 0\noutput = 1\nmax_output_tokens = 500",
    )
    .unwrap();
    let price = *config.prices.find("gpt-4o-mini", "").unwrap();
    let prices = [price.input, price.cached_input, price.output];
    assert_eq!(prices, [150_000, 75_000, 600_000]);
    let local = config.prices.find("", "local").unwrap();
    assert_eq!((local.cached_input, local.output), (0, 1_000_000));
    let text = config.to_string();
    let line = "prices = gpt-4o-mini: 0.15 in, 0.075 cached, 0.6 out; local: 0 in, 0 cached, 1 out up to 500";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_price_that_is_none_is_a_fault_of_its_model() {
    for (text, fault) in [
        ("prices = 1", "prices: is no table"),
        (
            "[prices.m]\ninput = 1\noutput = 1\nmax_output_tokens = 0",
            "prices.m: `max_output_tokens` is not",
        ),
        ("[prices]\nm = 1", "prices.m: is no table"),
        ("[prices.m]\ninput = 1", "prices.m: has no `output`"),
        ("[prices.m]\noutput = 1", "prices.m: has no `input`"),
        (
            "[prices.m]\ninput = -1\noutput = 1",
            "prices.m: `input` is not",
        ),
        (
            "[prices.m]\ninput = nan\noutput = 1",
            "prices.m: `input` is not",
        ),
        (
            "[prices.m]\ninput = 1\noutput = '1'",
            "prices.m: `output` is not",
        ),
        ("[prices.m]\ninputs = 1", "prices.m: `inputs` is no price"),
    ] {
        let faults = from_file(text).unwrap_err().to_string();
        assert!(faults.contains(fault), "{faults}");
    }
}
