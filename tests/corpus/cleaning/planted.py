"""Personal data planted into invented sentences, in the shapes in which people write it; and numbers that are none."""

from random import Random

FRAMES = (
    "Great food, but {}, which nobody told us.",
    "You can reach them here: {}. They never answered me.",
    "{} is what the manager wrote on the back of our receipt!",
    "If you were there last Friday please use {}",
    "My wife kept the note ({}) and we called the next morning.",
    "So sad :( Details: {}\nWe will not be back.",
    "They wanted $45.00 on top, see {}; two stars.",
    'The owner said "{}" and hung up.',
)
FIRST = (
    "anna",
    "bob",
    "j.smith",
    "maria_lopez",
    "kim-lee",
    "t0m",
    "info",
    "Chris.Doe",
    "reservations",
    "dr.who42",
)
HOSTS = ("gmail", "yahoo", "hotmail", "bluefig-grill", "my-diner24", "Outlook", "asu")
TOPS = ("com", "net", "org", "edu", "biz", "us")


def email(draw: Random) -> str:
    name, host, top = draw.choice(FIRST), draw.choice(HOSTS), draw.choice(TOPS)
    return draw.choice(
        (
            f"{name}@{host}.{top}",
            f"{name}@{host}.{top}",
            f"{name}+yelp{draw.randrange(99)}@{host}.{top}",
            f"{name}@mail.{host}.{top}",
            f"{name}@{host}.co.uk",
            f"{name.upper()}@{host.upper()}.COM",
            f"{name} at {host} dot com",
            f"{name}(at){host}.{top}",
            f"{name} [at] {host} [dot] {top}",
            f"mailto:{name}@{host}.{top}",
        )
    )


def phone(draw: Random) -> str:
    area, office, line = (
        draw.randrange(201, 990),
        draw.randrange(200, 1000),
        f"{draw.randrange(10_000):04d}",
    )
    a, b, c, d = (f"{draw.randrange(10 ** (n - 1), 10**n)}" for n in (2, 4, 4, 3))
    return draw.choice(
        (
            f"({area}) {office}-{line}",
            f"{area}-{office}-{line}",
            f"{area}.{office}.{line}",
            f"{area} {office} {line}",
            f"{area}{office}{line}",
            f"({area}){office}-{line}",
            f"{area}/{office}-{line}",
            f"{area} {office}-{line}",
            f"1-{area}-{office}-{line}",
            f"+1 {area} {office} {line}",
            f"+1{area}{office}{line}",
            f"1 ({area}) {office}-{line}",
            f"+1 ({area}) {office}-{line}",
            f"{area}–{office}–{line}",
            f"{area}-{office}-{line} x{draw.randrange(10, 999)}",
            f"({area}) {office}-{line} ext. {draw.randrange(10, 999)}",
            f"{area} - {office} - {line}",
            f"{office}-{line}",
            f"{office}.{line}",
            f"call {office} {line}",
            f"+44 {a} {b} {c}",
            f"+44 (0){a} {b} {c}",
            f"0049 {a} {b}{d}",
            f"+49-{a}-{b}{c}",
            f"+52 {a} {b} {c}",
            f"011 44 {a} {b} {c}",
        )
    )


def url(draw: Random) -> str:
    host, top = draw.choice(HOSTS).lower(), draw.choice(TOPS)
    code = "".join(draw.choices("abcXYZ0123456789", k=7))
    return draw.choice(
        (
            f"http://{host}.{top}",
            f"https://www.{host}.{top}/menu?id={code}&x=1#top",
            f"www.{host}.{top}",
            f"WWW.{host.upper()}.COM",
            f"{host}.{top}/{code}",
            f"yelp.com/biz/{host}-phoenix-2",
            f"m.yelp.com/biz/{host}",
            f"bit.ly/{code}",
            f"t.co/{code}",
            f"goo.gl/{code}",
            f"youtu.be/{code}",
            f"http://{host}.{top}:8080/a_(b)/c.html",
            f"https://{host}.co.uk/{code}",
            f"Facebook.com/{host}",
            f"tinyurl.com/{code}",
            f"HTTP://{host}.{top}/",
            f"ftp://{host}.{top}/{code}.pdf",
            f"instagram.com/p/{code}/",
            f"{host}.io/{code}",
            f"fb.me/{code}",
        )
    )


def check_digit(digits: str) -> str:
    """Luhn's, from the right, written independently of the code under test."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def card(draw: Random) -> str:
    start, length = draw.choice(
        (
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("6011", 16),
            ("37", 15),
            ("34", 15),
            ("4", 13),
            ("36", 14),
            ("2221", 16),
            ("65", 19),
            ("3528", 16),
        )
    )
    digits = start + "".join(str(draw.randrange(10)) for _ in range(length - len(start) - 1))
    digits += check_digit(digits)
    groups = {
        13: (4, 3, 3, 3),
        14: (4, 6, 4),
        15: (4, 6, 5),
        16: (4, 4, 4, 4),
        19: (4, 4, 4, 4, 3),
    }[length]
    separator, parts, place = draw.choice(("", " ", "-")), [], 0
    for size in groups:
        parts.append(digits[place : place + size])
        place += size
    return separator.join(parts)


def ssn(draw: Random) -> str:
    area = draw.choice([number for number in range(1, 900) if number != 666])
    a, b, c = f"{area:03d}", f"{draw.randrange(1, 100):02d}", f"{draw.randrange(1, 10_000):04d}"
    return draw.choice(
        (
            f"{a}-{b}-{c}",
            f"{a}-{b}-{c}",
            f"{a}–{b}–{c}",
            f"SSN {a}{b}{c}",
            f"ssn: {a} {b} {c}",
            f"social security number {a}{b}{c}",
            f"SSN# {a}.{b}.{c}",
            f"SSN is {a}-{b}-{c}",
        )
    )


IBAN_SHAPES = {
    "DE": "dddddddddddddddddd",
    "GB": "aaaadddddddddddddd",
    "FR": "ddddddddddcccccccccccdd",
    "NL": "aaaadddddddddd",
    "ES": "dddddddddddddddddddd",
    "NO": "ddddddddddd",
    "CH": "dddddcccccccccccc",
    "PL": "dddddddddddddddddddddddd",
    "MT": "aaaadddddcccccccccccccccccc",
    "BE": "dddddddddddd",
}


def iban(draw: Random) -> str:
    """Check digits by subtraction of the remainder from 98 (ISO 7064), not by trying, as the code under test does."""
    country = draw.choice(list(IBAN_SHAPES))
    letters = {
        "d": "0123456789",
        "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "c": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    }
    body = "".join(draw.choice(letters[kind]) for kind in IBAN_SHAPES[country])
    number = "".join(
        sign if sign.isdigit() else str(ord(sign) - 55) for sign in body + country + "00"
    )
    whole = f"{country}{98 - int(number) % 97:02d}{body}"
    groups = [whole[place : place + 4] for place in range(0, len(whole), 4)]
    return draw.choice(
        (whole, " ".join(groups), "-".join(groups), whole.lower(), " ".join(groups).lower())
    )


def ip(draw: Random) -> str:
    four = ".".join(str(draw.randrange(10, 256)) for _ in range(4))
    groups = [f"{draw.randrange(1, 65536):x}" for _ in range(8)]
    return draw.choice(
        (
            four,
            four,
            f"192.168.{draw.randrange(256)}.{draw.randrange(256)}",
            f"10.0.0.{draw.randrange(10, 256)}",
            f"{four}",
            ":".join(groups),
            f"2001:db8::{groups[0]}:{groups[1]}",
            f"fe80::{groups[0]}:{groups[1]}:{groups[2]}",
            f"2a02:{groups[0]}:{groups[1]}::1",
            ":".join(groups).upper(),
            f"::ffff:{four}",
        )
    )


def handle(draw: Random) -> str:
    return "@" + draw.choice(
        (
            "SmokeyBbq",
            "anna_lee",
            "j.smith",
            "kim42",
            "_maria",
            "britanysbites",
            "ThePhoenixFoodie",
            "chef.tom",
            "AZ_eats",
            "SMUNCHPhoenix",
            "foodie2016",
            "Annie",
        )
    )


def key(draw: Random) -> str:
    def mixed(
        count: int, signs: str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    ) -> str:
        return "".join(draw.choice(signs) for _ in range(count))

    upper, small = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", "0123456789abcdef"
    return draw.choice(
        (
            f"sk-{mixed(48)}",
            f"sk-proj-{mixed(60)}",
            f"sk-ant-api03-{mixed(40)}",
            f"ghp_{mixed(36)}",
            f"gho_{mixed(36)}",
            f"github_pat_{mixed(22)}_{mixed(59)}",
            f"AKIA{mixed(16, upper)}",
            f"AIza{mixed(35)}",
            f"xoxb-{mixed(12)}-{mixed(24)}",
            f"sk_live_{mixed(24)}",
            f"pk_test_{mixed(24)}",
            f"hf_{mixed(34)}",
            f"glpat-{mixed(20)}",
            f"npm_{mixed(36)}",
            f"SG.{mixed(22)}.{mixed(43)}",
            f"shpat_{mixed(32, small)}",
            f"eyJ{mixed(30)}.eyJ{mixed(60)}.{mixed(43)}",
            f"api key: {mixed(24)}",
            f"token={mixed(32, small)}",
            f"{mixed(40)}",
            f"{mixed(64, small)}",
        )
    )


KINDS = {
    "email": email,
    "url": url,
    "card": card,
    "phone": phone,
    "ssn": ssn,
    "iban": iban,
    "ip": ip,
    "handle": handle,
    "key": key,
}
CUES = {
    "email": ("mailto:",),
    "phone": ("call ",),
    "key": ("api key: ", "token="),
    "ssn": ("SSN ", "ssn: ", "social security number ", "SSN# ", "SSN is "),
}
"""What stands before a secret and may stay."""


def plant(
    kind: str,
    count: int,
    seed: int,
) -> list[tuple[str, str, str]]:
    """Return *count* times (text, what was planted, text with the placeholder instead)."""
    draw, rows = Random(f"{kind}{seed}"), []
    for _ in range(count):
        secret, frame = KINDS[kind](draw), draw.choice(FRAMES)
        rows.append((frame.format(secret), secret, frame.format(f"_{kind}_")))
    return rows


HARMLESS = (
    "$12.50 for two",
    "$1,250.00",
    "from 1999 to 2016",
    "2010-2012",
    "2010 2011 2012 2013",
    "3/26/2016 at 7:30 pm",
    "2011-05-30",
    "8-13-2010",
    "12.11.2015",
    "10:30-11:45",
    "open 11am-10pm",
    "Phoenix, AZ 85340",
    "zip 85340-1234",
    "NY 11776-1010",
    "4700 N 16th St.",
    "123 Main St, Suite 200",
    "555 reviews",
    "order number 4355421",
    "order #295",
    "order 112-5551234-7654321",
    "700-1200 people",
    "6000-7000 people",
    "2500-5000",
    "250-1500 calories",
    "a 10,000,000x",
    "10000000 stars",
    "165454564 calories",
    "893462396 times",
    "99.999993%",
    "4.3819661 stars",
    "21.00 14.00 16.00",
    "10-20-30-40 minutes",
    "exit 90/53/355",
    "Route 66, I-17, 101",
    "5-7 days",
    "5'11 and 200 lbs",
    "24/7",
    "1/2 off",
    "7-Eleven",
    "$7.95-10.95",
    "20% - 30%",
    "at 1130-200",
    "table for 12-15",
    "800 -1000 degrees",
    "yelp.com",
    "Amazon.com",
    "the bomb.com!",
    "and/or",
    "meet @ 7",
    "2 for $20 @ Applebees",
    "sh@t",
    "A+",
    "w/ fries",
    "so...The",
    "we ate at Joe's dot.",
    "look at the dot matrix",
    "check in/out",
    "him/her",
    "1.5 hours",
    "no.1",
    "3 of 5",
    "v2.0/beta",
    "score 5555 5555",
    "ISBN 0306406152",
    "model 2600-1000-22",
    "11/11/2016, 12/12/2016",
    "meet @ 5pm",
    "@ 5pm",
    "@5pm",
    "@7:30",
    "@home",
    "@ home",
    "we ate @the bar",
    "@work",
    "5 @ $3.99",
    "d@mn",
    "kick @ss",
    "f@*k",
    "@_@",
    "motherf*&#$@s",
    "G@S",
    "bar@night",
    "two for $5 @",
    "C@n you",
    "@ Applebees",
    "version 10.12.3.1",
    "v1.2.3.4",
    "section 4.10.2.1",
    "1.2.3.4",
    "5.4.3.2.1 lift off",
    "10.5.2016",
    "0.0.0.0",
    "1.10.100.1000",
    "256.300.1.1",
    "$10.20.30.40",
    "12:30:45",
    "10:30 - 11:45",
    "1::2",
    "ratio 4:3:2",
    "Me::You",
    "std::vector",
    "00:1A:2B:3C:4D:5E",
    "9:00:00 am",
    "score 21:19:21:15",
    "at 5:30:",
    "666-12-3456",
    "000-12-3456",
    "123-00-4567",
    "123-45-0000",
    "12-34-5678",
    "123-456-78",
    "SKU 1234-56-7890",
    "$123-45-6789",
    "597126846 taco joints",
    "no less than 893462396 times",
    "social hour 5 to 7",
    "GB29 food",
    "AZ85 is a road",
    "room BE12",
    "LA 2010 2011",
    "GB29NWBK60161331926818",
    "DE88370400440532013000",
    "XX89370400440532013000",
    "sk-8 boots",
    "a sk-ting rink that is very very long",
    "token of appreciation",
    "secret: the sauce is homemade",
    "sooooooooooooooooooooooooooooooooooooooo good",
    "aaaaaaaaaaaaaaaa1111111111111111",
    "best-burger-in-the-whole-wide-world-2016",
    "hahahahahahahahahahahahahahahahahahaha",
    "xoxo-xoxoxoxoxoxoxoxo",
    "OMG!!!!!!!!!!!!!!!!!!!!!!!!",
    "1Z999AA10123456784",
    "--------------------------------------------",
    "the_one_and_only_place_to_be_in_phoenix",
    "eyJust.kidding.here",
    "Pneumonoultramicroscopicsilicovolcanoconiosis",
    "KEY LIME PIE",
    "token 5555",
)
"""Prices, years, times, addresses, orders, ranges, names: none of it is personal data."""
