"""Define the variables of the embedded corpus: their values, the probabilities of these, and their written forms.

The words are items, staff, places, common words, and rare names with a Zipf tail. Each category lists its usual items,
the most popular first (a plus marks plurals), then the syllables and nouns from which its rare items are composed.
Ranks follow Zipf's law with Mandelbrot's shift, weight(r) = 1 / (r + 2)^1.05.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from corpus.synthetic.automaton import Domain

EXPONENT, SHIFT = 1.05, 2.0


@dataclass(frozen=True)
class Category:
    """The words of one kind of business; templates use e.g. `{category.spot}`, and dishes are the items of a review."""

    kind: str
    weight: float
    spot: str
    cuisine: str
    craving: str
    dishes: str
    sides: str
    roles: str
    syllables: str
    nouns: str
    houses: str


CATEGORIES = {
    "mexican": Category(
        "food", 10, "taqueria", "Mexican", "tacos",
        "carne asada tacos+, fish tacos+, chicken enchiladas+, al pastor burrito, carnitas plate, street tacos+, "
        "chile relleno, steak fajitas+, shrimp fajitas+, breakfast burrito, quesadilla, chimichanga, pozole, birria, "
        "tamales+, huevos rancheros+, nachos+, tortilla soup, mole poblano, barbacoa bowl, machaca plate, sopes+",
        "guacamole, chips and salsa+, street corn, refried beans+, horchata, margarita, queso, churros+, flan, "
        "michelada, ceviche, jalapeño poppers+",
        "server, host, food runner, bartender, cashier", "cha mo que ta li ro pi za te na co xi lo ra me",
        "tacos+, burrito, plate, torta, enchiladas+, salsa, bowl", "Cantina, Taqueria, Cocina, Grill",
    ),
    "italian": Category(
        "food", 9, "trattoria", "Italian", "pasta",
        "chicken parmesan, lasagna, spaghetti and meatballs, fettuccine alfredo, margherita pizza, eggplant parmesan, "
        "gnocchi, penne alla vodka, carbonara, seafood linguine, veal piccata, mushroom risotto, ravioli, calzone, "
        "osso buco, baked ziti, chicken marsala, lobster ravioli, cacio e pepe, shrimp scampi, pepperoni pizza",
        "garlic knots+, bruschetta, caesar salad, tiramisu, cannoli+, minestrone, calamari, house red, caprese, "
        "garlic bread, burrata, arancini+",
        "server, food runner, host, sommelier, owner", "bri so la tto gna ri vel mo ca ne fio re do ti",
        "pasta, pizza, risotto, ravioli, panini, salad, sauce", "Trattoria, Ristorante, Kitchen, Pizzeria",
    ),
    "thai": Category(
        "food", 6, "Thai place", "Thai", "noodles",
        "pad thai, green curry, drunken noodles+, red curry, massaman curry, pad see ew, panang curry, tom yum soup, "
        "khao soi, basil fried rice, yellow curry, crispy duck, pineapple fried rice, boat noodles+, larb, "
        "tom kha soup, cashew chicken, crying tiger",
        "spring rolls+, papaya salad, thai iced tea, mango sticky rice, chicken satay, fish cakes+, crab rangoons+, "
        "dumplings+, coconut ice cream",
        "server, host, food runner, owner", "kha pra nam tom lo rai sut bang ya mi phu wan dok",
        "curry, noodles+, soup, salad, duck, fried rice", "Thai Kitchen, Garden, Orchid, Noodle House",
    ),
    "sushi": Category(
        "food", 7, "sushi bar", "Japanese", "sushi",
        "spicy tuna roll, rainbow roll, dragon roll, salmon nigiri, tonkotsu ramen, chirashi bowl, chicken teriyaki, "
        "sashimi platter, philly roll, volcano roll, yellowtail sashimi, unagi roll, katsu curry, bento box, "
        "miso black cod, shoyu ramen, caterpillar roll, udon, tempura platter, toro",
        "miso soup, edamame, gyoza+, seaweed salad, hot sake, shrimp tempura, green tea ice cream, takoyaki+, "
        "agedashi tofu, house salad",
        "server, sushi chef, host, host", "ki sa to mu ra shi ha na ko ya ma zu do ri",
        "roll, ramen, nigiri, bowl, maki, sashimi", "Sushi, Izakaya, Ramen, House",
    ),
    "american": Category(
        "food", 12, "burger joint", "American", "burgers",
        "cheeseburger, bacon burger, mushroom swiss burger, fish and chips, club sandwich, chicken sandwich, "
        "veggie burger, patty melt, buffalo wings+, ribeye, meatloaf, pot roast, philly cheesesteak, turkey burger, "
        "reuben, chicken tenders+, blt, mac and cheese, blue cheese burger, chili, prime rib, salmon burger",
        "sweet potato fries+, onion rings+, fries+, milkshake, coleslaw, fried pickles+, tater tots+, house salad, "
        "mozzarella sticks+, draft beer, clam chowder, root beer float",
        "server, bartender, host, food runner, manager", "bar ton wick hol der red rock den lan mer ber cliff",
        "burger, sandwich, melt, wings+, steak, sliders+", "Tavern, Grill, Burgers, Pub, Bar and Grill",
    ),
    "breakfast": Category(
        "food", 7, "diner", "breakfast", "pancakes",
        "eggs benedict, blueberry pancakes+, french toast, chicken and waffles, corned beef hash, denver omelette, "
        "biscuits and gravy+, avocado toast, veggie omelette, belgian waffle, steak and eggs, breakfast sandwich, "
        "buttermilk pancakes+, shrimp and grits, breakfast skillet, crepes+, huevos omelette, lox bagel",
        "hash browns+, bacon, home fries+, mimosa, bloody mary, orange juice, fruit cup, coffee, cinnamon roll, "
        "sausage links+, grits+",
        "server, host, food runner, host, owner", "maple sun glen dale brook win ter berry ford ham wil low",
        "pancakes+, omelette, scramble, toast, skillet, hash", "Diner, Cafe, Kitchen, Pancake House",
    ),
    "bbq": Category(
        "food", 5, "smokehouse", "barbecue", "brisket",
        "brisket, pulled pork sandwich, baby back ribs+, burnt ends+, beef ribs+, smoked turkey, pulled chicken, "
        "hot links+, rib tips+, brisket sandwich, two meat combo, smoked wings+, st louis ribs+, jalapeño sausage",
        "cornbread, baked beans+, collard greens+, potato salad, mac and cheese, sweet tea, coleslaw, fried okra, "
        "banana pudding, peach cobbler",
        "server, cashier, pitmaster, bartender, owner", "hick or smo pe can dus ty mes quit pitt bo del ra",
        "ribs+, brisket, sausage, platter, sandwich", "Smokehouse, Barbecue, Pit, Ribs",
    ),
    "indian": Category(
        "food", 4, "curry house", "Indian", "curry",
        "chicken tikka masala, butter chicken, lamb vindaloo, saag paneer, chicken biryani, lamb korma, chana masala, "
        "palak paneer, tandoori chicken, goat curry, malai kofta, rogan josh, masala dosa, shrimp curry, dal makhani",
        "garlic naan, samosas+, mango lassi, raita, vegetable pakoras+, basmati rice, gulab jamun, kheer, masala chai",
        "server, food runner, owner, host", "ra ma sha ni kar vin da lo pa nee ja tri vat",
        "curry, masala, biryani, dosa, kebab, korma", "Palace, Curry House, Tandoor, Spice",
    ),
    "coffee": Category(
        "food", 7, "coffee shop", "cafe", "a latte",
        "vanilla latte, cold brew, cappuccino, mocha, chai latte, iced latte, americano, matcha latte, flat white, "
        "pour over, caramel macchiato, espresso, cortado, lavender latte, drip coffee, hot chocolate, nitro cold brew",
        "almond croissant, blueberry muffin, scone, banana bread, bagel, chocolate chip cookie, cinnamon roll, "
        "lemon bar, breakfast sandwich, macarons+, quiche",
        "barista, cashier, owner, manager", "be ans ro ast lum en ar bor ca fe no va cor",
        "latte, roast, blend, cold brew, mocha", "Coffee, Roasters, Espresso, Cafe",
    ),
    "hair": Category(
        "care", 6, "salon", "hair", "a new look",
        "haircut, balayage, color, trim, blowout, keratin treatment, full highlights+, partial highlights+, perm, "
        "root touch up, beard trim, men's cut, extensions+, updo, toner, deep conditioning",
        "scalp massage, shampoo, styling, brow wax, bang trim, gloss, consultation, hot towel",
        "stylist, receptionist, colorist, owner", "bel la vi da lux e stra na mi chi so",
        "treatment, color, cut, gloss, mask", "Salon, Hair Studio, Barbers, Beauty",
    ),
    "nails": Category(
        "care", 5, "nail salon", "nail", "a pedicure",
        "gel manicure, pedicure, full set, dip powder, acrylic fill, spa pedicure, french manicure, polish change, "
        "manicure, eyelash extensions+, nail art, shellac",
        "foot massage, callus removal, paraffin wax, hot stones+, cuticle oil, lip wax, polish selection",
        "nail tech, receptionist, owner, manager", "po li sh lu ce ro se jo lie ti na pe",
        "pedicure, manicure, design, polish, scrub", "Nails, Nail Bar, Nail Spa, Nails and Spa",
    ),
    "auto": Category(
        "care", 6, "shop", "auto repair", "honest work",
        "oil change, brake job, new tires+, alignment, tune up, smog check, transmission repair, battery, "
        "windshield repair, tire rotation, radiator, alternator, inspection, brake pads+, timing belt, head gasket",
        "car wash, loaner car, estimate, diagnostic, free coffee, shuttle, warranty, wiper blades+",
        "mechanic, service advisor, technician, manager, owner", "tor que mo dyn ax le gas ket pis ton au ga",
        "repair, service, sensor, pump, filter, valve", "Auto, Auto Care, Tire and Auto, Motors",
    ),
    "dentist": Category(
        "care", 4, "dental office", "dental", "a cleaning",
        "cleaning, crown, root canal, filling, teeth whitening, extraction, braces+, night guard, implant, veneers+, "
        "wisdom teeth removal, deep cleaning, bridge, retainer",
        "x-rays+, exam, paperwork, follow up, numbing shot, billing, free toothbrush, fluoride rinse",
        "hygienist, receptionist, dentist, assistant", "den ta mo lar bri lite smi le or tho ca ri",
        "crown, treatment, exam, filling, scan", "Dental, Family Dentistry, Smiles, Dental Care",
    ),
    "groomer": Category(
        "care", 3, "pet groomer", "grooming", "a good grooming",
        "full groom, bath, nail trim, puppy cut, summer cut, flea bath, de-shedding treatment, teeth brushing, "
        "lion cut, hand strip, ear cleaning",
        "bandana, blow dry, boarding, daycare, flea treatment, paw massage, pickup service, dog treats+",
        "groomer, receptionist, owner, vet tech", "paw wag tail fur ru ff bark le pup py do og",
        "groom, cut, shampoo, bath, trim", "Grooming, Pet Spa, Paws, Dog Wash",
    ),
}

WOMEN = (
    "Maria Jessica Ashley Sarah Amanda Jennifer Michelle Lisa Kim Nicole Laura Anna Emily Rachel Stephanie Melissa "
    "Christina Amy Linda Karen Megan Kelly Angela Heather Samantha Vanessa Brittany Tina Diana Monica Rosa Olivia "
    "Natalie Hannah Sofia Grace Chloe Julia Claudia Erica Brenda Denise Crystal Tiffany Veronica Kayla Jasmine Mia"
)
MEN = (
    "Mike Chris David John Daniel Jose Kevin Brian Matt Eric Jason Tony Carlos Alex Steve Mark Ryan James Luis "
    "Josh Andrew Robert Nick Justin Juan Scott Tim Ben Sam Adam Jeff Greg Paul Marco Victor Miguel Sean Kyle Derek "
    "Omar Hector Ivan Dmitri Frank Rick Pedro Aaron Brandon Trevor Andre"
)
CITIES = (
    "Phoenix, Chicago, Philadelphia, Tampa, Nashville, Tucson, New Orleans, Indianapolis, Reno, St. Louis, "
    "Santa Barbara, Boise, Edmonton, Las Vegas, Cleveland, Pittsburgh, Charlotte, Toronto, San Diego, Los Angeles, "
    "New York, Boston, Seattle, Portland, Denver, Dallas, Houston, Austin, Atlanta, Miami, Detroit, Minneapolis, "
    "Milwaukee, Sacramento, Oakland, Omaha, Albuquerque"
)
COMPANY = {
    "my wife": "she", "my husband": "he", "my girlfriend": "she", "my boyfriend": "he", "my mom": "she",
    "my sister": "she", "my dad": "he", "my brother": "he", "my best friend": "she", "my coworker": "he",
    "my son": "he", "my daughter": "she", "my roommate": "he", "my mother-in-law": "she", "my fiancé": "he",
    "my boss": "she", "my neighbor": "he", "my cousin": "she", "my grandmother": "she", "my uncle": "he",
}
SIZES = "four five six eight seven ten twelve nine three fifteen eleven twenty"
MINUTES = "20 30 15 45 10 40 25 5 35 50 90 55 75 65 80"
PRICES = "$20 $15 $12 $30 $25 $10 $40 $18 $50 $35 $14 $60 $9 $45 $22 $100 $16 $28 $80 $75 $11 $13 $17 $19 $23 $24 $26 "
PRICES += "$32 "
PRICES += "$38 $55 $65 $70 $85 $90 $95 $120 $150"
EVENTS = "birthday, anniversary, graduation, promotion, retirement party, baby shower, bachelorette party, "
EVENTS += "housewarming, "
EVENTS += "engagement, going away party, reunion, bridal shower"
DAYS = "Friday, Saturday, Sunday, Friday night, Saturday night, Tuesday, Monday, Thursday, Wednesday, Sunday morning, "
DAYS += "Saturday afternoon, Thursday evening, holiday weekend"
PERSON_SYLLABLES = "ka ri el a jo la ni ve ra mi sha da ze lu ana to bri cy ni len ma no ri el"
CITY_STEMS = "Oak Mill River Cedar Ash Maple Glen Spring Fair West North Lake Stone Green Clear Elm Red Bright Hill"
CITY_ENDS = "ville ton field dale wood brook port haven ford view burg side crest mont hurst bury"


def zipf(values: list[str]) -> dict[str, float]:
    """Return weights by rank, with the most popular value first."""
    return {value: (rank + SHIFT) ** -EXPONENT for rank, value in enumerate(dict.fromkeys(values), 1)}


def words(block: str) -> list[str]:
    """Return the words of a block, separated by white space."""
    return block.split()


def split(block: str) -> list[str]:
    """Return the entries of a comma-separated block."""
    return [entry.strip() for entry in block.split(",")]


def made_up(syllables: str, count: int, seed: str, lengths: tuple[int, ...] = (2, 3, 3, 4)) -> list[str]:
    """Return distinct pronounceable words; equal arguments give equal words on every platform."""
    source, draw, words = syllables.split(), Random(seed), dict[str, None]()
    while len(words) < count:
        length = lengths[int(draw.random() * len(lengths))]
        word = "".join(source[int(draw.random() * len(source))] for _ in range(length))
        if len(word) >= 4 and not any(a == b == c for a, b, c in zip(word, word[1:], word[2:], strict=False)):
            words[word] = None
    return list(words)


def rare_items(name: str, count: int) -> list[str]:
    """Return composed items of a category, e.g. "khapra curry"."""
    category, draw = CATEGORIES[name], Random(f"items of {name}")
    nouns = split(category.nouns)
    return [f"{word} {nouns[int(draw.random() * len(nouns))]}" for word in made_up(category.syllables, count, name)]


STARS = {"1": 0.15, "2": 0.09, "3": 0.12, "4": 0.22, "5": 0.42}
"""Share of each rating, close to that of Yelp's open dataset."""
RARE_ITEMS, RARE_PLACES, RARE_PEOPLE, RARE_CITIES = 150, 140, 700, 400
FLAGS = ("place", "who", "size", "person", "side", "wait", "price", "city", "event", "day")
"""Names x for which a variable `has_x` records whether x was mentioned; only then a later sentence may refer to x."""
FOOD = {"1": (6, 20, 74), "2": (15, 40, 45), "3": (35, 50, 15), "4": (72, 24, 4), "5": (93, 6, 1)}
SERVICE = {"1": (6, 14, 80), "2": (20, 30, 50), "3": (40, 40, 20), "4": (70, 22, 8), "5": (94, 5, 1)}
TONES = ("love", "fine", "bad")


def domains() -> dict[str, Domain]:
    """Return all variables in the order of their registers."""
    return {
        "stars": Domain({"": STARS}),
        **{f"has_{name}": Domain({"": {"yes": 1.0, "no": 1.0}}, initial="no") for name in FLAGS},
        "kind": Domain({"": {"food": 0.76, "care": 0.24}}),
        "category": _categories(),
        "food": Domain({star: dict(zip(TONES, row, strict=True)) for star, row in FOOD.items()}, key="stars"),
        "service": Domain({star: dict(zip(TONES, row, strict=True)) for star, row in SERVICE.items()}, key="stars"),
        "dish": _items("dishes", RARE_ITEMS),
        "side": _items("sides", 0),
        "other": _items("dishes", RARE_ITEMS),
        "place": _by_category(_place_names),
        "role": _by_category(lambda name: split(CATEGORIES[name].roles)),
        "person": _people(),
        "who": _company(),
        "city": _simple(split(CITIES) + _rare_cities()),
        "size": _simple(words(SIZES)),
        "minutes": _simple(words(MINUTES)),
        "price": _simple(words(PRICES)),
        "event": _simple(split(EVENTS)),
        "day": _simple(split(DAYS)),
    }


def _simple(values: Iterable[str]) -> Domain:
    table = zipf(list(values))
    return Domain({"": table}, _named(table), lazy=True)


def _named(values: Iterable[str]) -> dict[str, dict[str, str]]:
    return {"name": {value: value for value in values}}


def _by_category(values: Callable[[str], list[str]]) -> Domain:
    tables = {name: zipf(values(name)) for name in CATEGORIES}
    return Domain(tables, _named(value for table in tables.values() for value in table), key="category", lazy=True)


def _categories() -> Domain:
    kinds = sorted({category.kind for category in CATEGORIES.values()})
    tables = {kind: {name: c.weight for name, c in CATEGORIES.items() if c.kind == kind} for kind in kinds}
    forms = {
        form: {name: getattr(category, form) for name, category in CATEGORIES.items()}
        for form in ("spot", "cuisine", "craving")
    }
    forms["spots"] = {name: f"{category.spot}s" for name, category in CATEGORIES.items()}
    return Domain(tables, forms, key="kind")


def _items(block: str, rare: int) -> Domain:
    """Return the items of each category, with forms that agree in number; a plus in the lexicon marks plurals."""
    entries = {
        name: split(getattr(category, block)) + (rare_items(name, rare) if rare else [])
        for name, category in CATEGORIES.items()
    }
    tables = {name: zipf([entry.rstrip("+") for entry in marked]) for name, marked in entries.items()}
    plural = {entry.rstrip("+"): entry.endswith("+") for marked in entries.values() for entry in marked}
    makers: dict[str, Callable[[str, bool], str]] = {
        "name": lambda item, many: item,
        "the": lambda item, many: f"the {item}",
        "The": lambda item, many: f"The {item}",
        "that": lambda item, many: f"{'those' if many else 'that'} {item}",
        "some": lambda item, many: f"{'some' if many else 'a good'} {item}",
        "a": lambda item, many: item if many else f"{'an' if item[0] in 'aeiou' else 'a'} {item}",
        "was": lambda item, many: "were" if many else "was",
        "is": lambda item, many: "are" if many else "is",
        "it": lambda item, many: "they" if many else "it",
        "it_object": lambda item, many: "them" if many else "it",
        "It": lambda item, many: "They" if many else "It",
    }
    forms = {form: {item: make(item, many) for item, many in plural.items()} for form, make in makers.items()}
    return Domain(tables, forms, key="category", lazy=True)


def _place_names(name: str) -> list[str]:
    category, draw = CATEGORIES[name], Random(f"places of {name}")
    houses, people = split(category.houses), words(WOMEN) + words(MEN)
    names = []
    for word in made_up(category.syllables, RARE_PLACES, f"places {name}"):
        owner, house = (source[int(draw.random() * len(source))] for source in (people, houses))
        kind = draw.random()
        plain = f"{word.title()} {house}" if kind < 0.6 else f"{word.title()}'s"
        names.append(f"{owner}'s {house}" if kind > 0.75 else plain)
    return names


def _people() -> Domain:
    women, men = words(WOMEN), words(MEN)
    rare = [word.title() for word in made_up(PERSON_SYLLABLES, RARE_PEOPLE, "people", (2, 3))]
    names = list(dict.fromkeys([name for pair in zip(women, men, strict=False) for name in pair] + rare))
    she = {name for name in names if name in women or (name not in men and name[-1] in "aeiy")}
    forms = {
        "name": {name: name for name in names},
        "He": {name: "She" if name in she else "He" for name in names},
        "his": {name: "her" if name in she else "his" for name in names},
    }
    return Domain({"": zipf(names)}, forms, lazy=True)


def _company() -> Domain:
    forms = {
        "name": {who: who for who in COMPANY},
        "cap": {who: who[0].upper() + who[1:] for who in COMPANY},
        "poss": {who: f"{who}'s" for who in COMPANY},
        "he": dict(COMPANY),
    }
    return Domain({"": zipf(list(COMPANY))}, forms, lazy=True)


def _rare_cities() -> list[str]:
    draw, stems, ends = Random("cities"), words(CITY_STEMS), words(CITY_ENDS)
    return [
        stems[int(draw.random() * len(stems))] + ends[int(draw.random() * len(ends))] for _ in range(RARE_CITIES)
    ]
