"""Define more sentences of the embedded corpus: food and other goods, service, and the circumstances of the visit.

`corpus/synthetic/grammar_rules.py` explains the purpose of the parts.
"""

from __future__ import annotations

from corpus.synthetic.automaton import By, Rule
from corpus.synthetic.grammar_rules import BAD, FINE, LOVE, VERY

ITEMS: dict[str, Rule] = {
    "main": By("kind", {"food": "{order}{!food}{opinion}", "care": "{visit}{!food}{outcome}"}),
    "main_bare": By("kind", {
        "food": "{!food}[Got|Ordered|Had|Tried] the {+dish}{price_of} [to go|for takeout|for delivery|"
        "{when}].{opinion}",
        "care": "{!food}[Went in|Came in|Stopped in] {when} for {+dish.a} with {someone}."
        "{outcome}"}),
    "order": [
        (4, "{sep}I [ordered*4|got*4|had*3|went with*2|decided on|tried*2] the {+dish}{price_of}{and_who}."),
        (2, "{sep}We [shared*2|split|started with] the {+side}{has_side=yes} and [I had|then I had|I got] the "
        "{+dish}."),
        (2, "{sep}Our {+role} [recommended*2|suggested|talked me into|steered us toward] the {+dish}{price_of}."),
        (2, "{sep}[For dinner|For lunch|To start|This time|On my first visit], I [ordered*2|had|got] the {+dish} with "
        "a "
            "side of {+side}{has_side=yes}."),
        (1.5, "{sep}[Everyone|Everybody] [talks|raves|kept talking] about the {+dish}, so [of course|naturally] I "
              "[ordered|got|had to try] {dish.it_object}{and_who}."),
    ],
    "price_of": "[*5| for {+price}{has_price=yes}]",
    "and_who": By("has_who", {
        "yes": "[*2| and {who} [had*2|got*2|ordered] the {+side}{has_side=yes}*4]",
        "no": "[*4| and the {+side}{has_side=yes}*2| along with the {+side}{has_side=yes}]"}),
    "opinion": By("food", {
        "love": ["{sep}The {dish} {dish.was}" + VERY + " " + LOVE + "{end}",
                 "{sep}{dish.It} {dish.was}" + VERY + " " + LOVE + "[*2|, {praise}]{end}",
                 "{sep}[Oh my goodness|Wow|Oh man], {dish.it} {dish.was} " + LOVE + "{end}",
                 "{sep}[Easily the best|Some of the best|The best] {dish} I've [had*2|ever had*2|had in years|"
                 "tasted]{end}",
                 "{sep}The {dish} {dish.was} " + LOVE + " and {dish.was} gone in [minutes|no time|five minutes]{end}"],
        "fine": ["{sep}The {dish} {dish.was} " + FINE + "[*2|, {shrug}].",
                 "{sep}{dish.It} {dish.was} " + FINE + "[*2|, {shrug}].",
                 "{sep}[I thought|In my opinion,|To be honest,] the {dish} {dish.was} " + FINE + "."],
        "bad": ["{sep}The {dish} {dish.was} " + BAD + "[*2|, {complaint}]{end}",
                "{sep}{dish.It} {dish.was} " + BAD + " and " + BAD + "{end}",
                "{sep}[Unfortunately|Sadly|Well], the {dish} {dish.was} " + BAD + "[*2|, {complaint}]{end}",
                "{sep}[I took two bites|One bite was enough|I couldn't finish {dish.it_object}]: " + BAD + " and "
                "" + BAD + "{end}"],
    }),
    "praise": "[full of flavor*2|cooked to perfection*2|perfectly seasoned|fresh and hot|just like my grandmother's|"
    "and the portions are huge*2|with just the right amount of spice|and beautifully presented]",
    "shrug": "[but nothing to write home about*3|but a bit small for the price*2|but I've had better*3|though not as "
    "hot as "
    "I'd like|but it needed salt|maybe an off night]",
    "complaint": "[like it came out of a microwave*3|and I couldn't finish it*2|and it took forever to come out*2|"
    "swimming "
    "in oil|and we both felt sick later|and nobody offered to fix it*2|which is hard to do]",
    "visit": [
        (4, "{sep}I [came in*2|went in*2|booked online|made an appointment*2|called] for {+dish.a}{price_of}."),
        (2.5, "{sep}I [needed*2|wanted*2|had a coupon for] {+dish.a} and [they got me in the same day*2|they had an "
        "opening|"
              "the {+role} fit me in]{price_of}."),
        (2, "{sep}{someone} [did|took care of|handled|was in charge of] my {+dish} and the {+side}"
            "{has_side=yes}."),
        (1.5, "{sep}[My|Our] {+dish} [cost|came to|ran me] {+price}{has_price=yes}[*2| with tip| after tax]."),
    ],
    "outcome": By("food", {
        "love": ["{sep}The {dish} [turned out*3|came out*2] [amazing*2|perfect*3|beautiful|flawless|even better than "
        "I hoped*2|"
                 "exactly how I wanted*2]{end}", "{sep}I [love|am so happy with|couldn't be happier with|am in love "
                 "with] the "
                 "[results*2|end result]{end}", "{sep}[I've gotten so many compliments on|Everyone keeps asking "
                 "about] my {dish}{end}",
                 "{sep}[Easily|Honestly|Truly] the best {dish} I've ever [had*2|gotten|paid for]{end}"],
        "fine": ["{sep}The {dish} {dish.was} [fine*2|okay*2|decent|nothing special|done in a hurry|acceptable][*2|, "
        "but I've had "
                 "better|, though a bit rushed].", "{sep}[It did the job|It's fine, I guess|Not exactly what I asked "
                 "for], but "
                 "the {dish} [lasted|held up] [okay|for a week|about as long as expected]."],
        "bad": ["{sep}The {dish} [turned out*2|came out] [terrible*2|uneven|completely wrong*2|a mess*2|nothing like "
        "I asked]{end}",
                "{sep}[I had to|Now I have to|My friend told me to] [pay someone else to fix|go elsewhere to redo] my "
                "{dish}{end}",
                "{sep}They [ruined|botched|completely messed up|rushed through] my {dish}[*2| and wouldn't fix it| "
                "and blamed "
                "me]{end}"],
    }),
    "side_part": By("has_side", {
        "yes": By("food", {
            "love": ["{sep}{side.The} {side.was} [great*2|excellent|delightful|wonderful] [too*3|as "
            "well*2]{end}", "{sep}I also "
                     "[loved|enjoyed|can't say enough about] {side.the}{end}", ""],
            "fine": ["{sep}{side.The} {side.was} [fine|better|okay*2|the best part][*2| though].", ""],
            "bad": ["{sep}{side.The} {side.was} [not any better|a joke|just as disappointing|forgettable]{end}",
                    "{sep}They [forgot|charged us twice for|never brought|got wrong] {side.the}[*2| too]{end}"],
        }),
        "no": ["", By("food", {
            "love": "{sep}Also [get|try|order] the {+side}{has_side=yes}, {side.it} {side.is} [great|a must|so "
            "good]{end}",
            "fine": "{sep}The {+side}{has_side=yes} {side.was} a little better.",
            "bad": "{sep}The {+side}{has_side=yes} {side.was} [a disaster|somehow worse|not worth it either]{end}"})]}),
}

SERVICE: dict[str, Rule] = {
    "someone": By("has_person", {"yes": "{person}", "no": "{+person}{has_person=yes}"}),
    "service_part": [
        (3, "{!service}{server}{served}"), (3, "{!service}{server}{served}{later}"), (1.5, "{!service}{anonymous}"),
    ],
    "server": [
        (4, "{sep}Our {+role}, {someone}, "), (2, "{sep}{someone}, [our|the] {+role}, "
        ""),
        (2, "{sep}{someone} at the [front|counter|desk] "), (1.5, "{sep}[Our|The] {+role} "),
    ],
    "served": By("service", {
        "love": "was[ absolutely| so*2| really| just|*4] [great*4|wonderful*2|attentive*3|friendly*4|fantastic*2|"
        "sweet|helpful*2|"
        "patient with us|on top of everything]{and_also}{end}",
        "fine": "was [fine*2|okay*2|polite enough|nice but slow*2|a little distracted|busy but friendly|efficient but "
        "not warm]."
        , "bad": "[was rude*3|ignored us*2|rolled {eyes} at us|was nowhere to be found*2|acted like we were a bother|"
        "was beyond "
        "slow*2|had a terrible attitude*2|got everything wrong|argued with {companion}]{end}"}),
    "eyes": By("has_person", {"yes": "{person.his} eyes", "no": "both eyes"}),
    "companion": By("has_who", {"yes": "{who}", "no": "[me|another customer]"}),
    "and_also": [
        (5, ""), (1, " and [always had a smile|never rushed us|knew everything about the menu|made us laugh]"),
        (1, By("has_event", {"yes": " and even [remembered|brought out a candle for] {who.poss} {event}", "no": ""})),
        (1, By("has_who", {"yes": " and [took good care of|joked around with|was so kind to] {who}", "no": ""})),
    ],
    "later": By("has_person", {
        "yes": By("service", {
            "love": ["{sep}{person.He} [checked on us often|explained everything|made great suggestions|even "
            "remembered us from "
                     "last time]{end}", "{sep}[Ask for|Make sure you ask for|Request] {person}{end}",
                     "{sep}{person} [deserves a raise|is the best|made our visit special|is a keeper]{end}",
                     "{sep}[When|As soon as] [we sat down|we arrived|I walked in], {person} [made us feel welcome|"
                     "greeted us by "
                     "name]{end}"],
            "fine": ["{sep}{person.He} [checked on us once|seemed new|had too many customers|was trying at least].",
                     "{sep}[I think|Maybe|I guess] {person} was having [a long|a rough|an off] [day|night|week]."],
            "bad": ["{sep}{person.He} never [apologized|came back|smiled once|checked on us]{end}",
                    "{sep}[I asked for the manager, but|When I complained,] {person} [just laughed|walked away|"
                    "shrugged|told me to "
                    "leave]{end}", "{sep}{person} [needs a different job|should be retrained|does not belong in "
                    "customer service]"
                    "{end}"]}),
        "no": By("service", {"love": "{sep}[They|The staff] went above and beyond{end}", "fine": "", "bad":
                             "{sep}[Nobody|No one] [cared|apologized|said a word]{end}"})}),
    "anonymous": By("service", {
        "love": ["{sep}[The service|Service|The staff] was [excellent*2|great*3|top notch|impeccable|so "
        "friendly*2]{end}",
                 "{sep}[Everyone|Everybody|The whole team] [was so friendly|made us feel at home|seemed happy to be "
                 "there]{end}"],
        "fine": ["{sep}[The service|Service] was [okay*2|average|a bit slow*2|fine|hit or miss].",
                 "{sep}[The staff|Everyone] seemed [tired|new|a bit overwhelmed|nice enough*2]."],
        "bad": ["{sep}[The service|Service|Customer service] was [terrible*2|horrible*2|nonexistent|painfully slow*2|"
        "a joke]{end}",
                "{sep}[The staff|Everyone|The manager] [was rude*2|acted like they didn't want us there|didn't "
                "care]{end}"]}),
}


FILLERS: dict[str, Rule] = {
    # Each of these four rules occurs at most once in a plan, so that no review repeats a statement.
    "around": "[*3|{look}*4|{look}{parking}*1.5|{parking}*2|{music}*1.5|{look}{music}]",
    "inside": By("kind", {"food": "[*2|{menu}*2|{portions}*2|{neighbor}*2|{portions}{neighbor}*1.5|{menu}{portions}]",
                          "care": "[*2|{room}*2|{hours}*2|{chair}*2|{room}{chair}*1.5|{hours}{room}]"}),
    "money": "[*2|{cost}*3|{bill}*2|{bill}{cost}*0.7|{cost}{visits}|{visits}]",
    "aside": "[{location}*2|{habit}*2|{age}*1.5]",
    "look": By("stars", {
        "": "{sep}The [decor|inside*2|dining area|lobby|atmosphere] [was|is] [nice|cozy|cute|beautiful|modern|"
        "bright and clean]{end}",
        "3": "{sep}The [decor|inside|atmosphere] [was|is] [nothing special|a little dated|okay|plain].",
        "2": "{sep}The [decor|inside|atmosphere] [was|is] [dated|dark|loud|worn out|in need of an update].",
        "1": "{sep}The [floor|bathroom|inside|counter] was [filthy|dirty*2|disgusting|sticky]{end}"}),
    "parking": "{sep}Parking [can be|was|is] [a pain*2|easy*2|tough on weekends|free|a nightmare*0.7|in the "
    "back].",
    "location": "{sep}[It's|They're|The place is] [located|tucked away|hidden] [in a strip mall*2|next to a gas "
    "station|behind a bank|downtown*2|off the highway|near the airport].",
    "music": "{sep}The music was [a bit loud*2|too loud for conversation|pleasant|turned way up|from the eighties].",
    "age": By("has_place", {
        "yes": "{sep}{place} has been [here|open|around] for [years*2|a few months|decades|as long as I can remember].",
        "no": By("has_city", {"yes": "{sep}[It's hard to find|There aren't many] {category.spots} in {city}.",
                              "no": ""})}),
    "cost": By("stars", {
        "5": "{sep}[Prices are|The prices were] [very fair|reasonable*2|unbeatable|great for what you get]{end}",
        "4": "{sep}[Prices are|The prices were] [fair|reasonable*2|a little high but fine]{end}",
        "": "{sep}[Way overpriced|Overpriced|Too expensive|Not cheap] for what you get{end}"}),
    "bill": "{sep}[The bill came to|We paid|In the end I paid] {+price}{has_price=yes}[*2| with tip| plus tax].",
    "habit": "{sep}[We come here|I come here|We used to come here] [every week|once a month|about "
    "twice a year|all the time].",
    "visits": "{sep}[This was|It was] [my first|our second|my third|our first] [visit*2|time here].",
    "menu": "{sep}[[The menu|Their menu] is [huge*2|small but good|a bit confusing|on a chalkboard|overwhelming]|"
    "[They also have|There is also] {+other.some} [on the menu*2|that looked good|during happy hour]].",
    "portions": "{sep}[Portions are|The portions were] [huge*2|generous*2|small|just right|big enough to share*2].",
    "neighbor": "{sep}[The table next to us|Another table|{who_else}] had the {+other} and {other.it} looked "
    "[good*2|great|sad*0.5|huge].",
    "who_else": By("has_who", {"yes": "{who.cap}", "no": "[A friend|Some guy]"}),
    "room": "{sep}[The waiting area|The waiting room] [has|had] [free coffee*2|old magazines|a big TV|comfy chairs*2|"
    "a fish tank].",
    "hours": "{sep}[They are|They're] [open late|closed on Sundays|always booked|easy to reach by phone*0.7].",
    "chair": "{sep}[The customer before me|Another customer|{who_else}] got {+other.a} and [seemed happy*2|"
    "it took forever|left smiling].",
}
