"""Define the sentences of the embedded corpus (notation: `corpus/synthetic/automaton.py`).

The text can be learnt in layers: first words within a phrase (a trigram is enough), then agreement and names across a
sentence, then facts that need memory. The dish, person, place, company, party size, waiting time, price, town and
occasion appear early, are chosen from dozens to thousands of alternatives, and come back sentences later. The tone of
food and service is drawn once per review from the star rating, and stays the same to the end. Every part of a review
except the first begins with its own separator `{sep}`.
"""

from __future__ import annotations

from corpus.synthetic.automaton import By, Rule

LOVE = "[amazing*9|delicious*8|excellent*5|fantastic*5|perfect*4|incredible*4|outstanding*3|so good*4|to die for*2|"
LOVE += "phenomenal*2|superb*1.5|wonderful*2|out of this world|spot on*2|heavenly|divine*0.7|absolutely perfect]"
FINE = "[okay*7|fine*5|decent*6|pretty good*4|alright*3|average*4|not bad*3|nothing special*4|just okay*3|so-so*1.5|"
FINE += "a little bland*2|edible|passable*0.7|a bit too salty*1.5|hit or miss*1.5]"
BAD = "[terrible*5|cold*6|bland*5|awful*4|overcooked*4|dry*4|inedible*2|disgusting*3|soggy*3|greasy*3|flavorless*3|"
BAD += "undercooked*2|stale*1.5|burnt*2|way too salty*2|a huge disappointment*2|lukewarm at best]"
VERY = "[ absolutely*2| really*3| just*2| simply| truly|*6]"

FRAME: dict[str, Rule] = {
    "start": [(14, "{opening}{plan}{ending}"), (0.7, "{about}{main_bare}{!service}{ending}")],
    "plan": [
        (2, "{main}{service_part}"),
        (1.5, "{setup}{service_part}{main}{money}"),
        (3.5, "{setup}{main}{side_part}{around}{service_part}{recall}"),
        (2, "{service_part}{around}{main}{side_part}{recall}"),
        (2, "{setup}{main}{side_part}{around}{service_part}{inside}{recall}{money}{facts}"),
        (1, "{setup}{main}{side_part}{inside}{service_part}{around}{recall}{facts}{revisit}"),
        (0.8, "{setup}{main}{side_part}{inside}{around}{service_part}{money}{recall}{facts}[*2|{revisit}]"),
    ],
    "about": "{!kind}{!category}",
    "sep": "[ *16|\n\n|\n*0.3]",
    "end": By("stars", {"1": "[.*5|!*2]", "2": "[.*8|!]", "3": "[.*12|!]", "4": "[.*3|!]", "5": "[.|!]"}),
    "when": "[last {+day}{has_day=yes}*3|on a {+day}{has_day=yes}*2|the other day*2|last week*2|for the first time*2|"
    "a few weeks ago|yesterday|over the weekend|after work|this past {+day}{has_day=yes}]",
    "thing": By("kind", {"food": "[spot|place*2|restaurant*2|{category.spot}*3]", "care": "[place*3|"
    "{category.spot}*4]"}),
    "here": By("has_place", {"yes": "[this place*3|{place}*2]", "no": "this place"}),
    "goods": By("kind", {"food": "food", "care": "[work|service]"}),
    "opening": [
        (4, "[I've been|I had been] [wanting|meaning|dying*0.5] to try {about}{+place}{has_place=yes} for [a while|"
        "months|weeks|"
            "ages*0.5] and [finally made it in|finally went|finally got the chance] {when}."),
        (3, "[Stopped*3|Dropped|Popped] in at {about}{+place}{has_place=yes} {when} with {+who}{has_who=yes}."),
        (4, "{+who.cap}{has_who=yes} and I [came*3|went*2|stopped by|tried to come] here {when} [because|since] we "
            "[were craving|wanted|were in the mood for] {about}{category.craving}."),
        (3, "We were a [party*2|group] of {+size}{has_size=yes}, so I called {about}{+place}{has_place=yes} ahead [of "
        "time|to "
            "check|the day before]."),
        (3, "[Visiting from|In town from|Just moved here from|We drove in from] {+city}{has_city=yes} and [found|"
            "came across|ended up at*2|looked up] {about}{+place}{has_place=yes} [online|on Yelp*2|by accident*0.5|by "
            "chance]."),
        (2.5, "Came here {when} for {+who.poss}{has_who=yes} {+event}{has_event=yes}.{about}"),
        (2.5, "{+who.cap}{has_who=yes} [recommended|kept telling me about|suggested|raves about] {about}{+place}"
              "{has_place=yes}, so [I|we] [gave it a try|finally gave in|decided to check it out]."),
        (2.5, "{about}{verdict}{end}"),
        (1.5, "[I don't usually|I rarely|I never] write reviews, but {about}{+place}{has_place=yes} [deserves one*2|"
        "earned this "
              "one|left me no choice]."),
        (1.5, "If you [are looking for|want|need] [good|decent|real] {about}{category.cuisine} {goods} in {+city}"
              "{has_city=yes}, [read this first|keep reading|listen up|here is my take on {+place}{has_place=yes}]."),
        (1.5, "{about}{+place}{has_place=yes} [is|has been] [right around the corner from|five minutes from|across "
        "the street "
              "from|on my way to] [my house|my office|our hotel|the gym|my apartment]."),
    ],
    "verdict": By("stars", {
        "5": ["[Hands down|Without a doubt|By far] the best {category.spot} in {+city}{has_city=yes}",
              "[I love|We love|Love love love] {+place}{has_place=yes}", "What a [gem|great find|treat|fantastic "
              "place]",
              "[Best|My favorite] {category.spot} [ever|in town|for miles around]"],
        "4": ["[Really solid|Great little|A very good] {category.spot}", "We [really like|always enjoy] {+place}"
              "{has_place=yes}", "[Good|Great] {category.spot} if you find yourself in {+city}{has_city=yes}"],
        "3": ["[Decent|An average|A perfectly okay|An okay] {category.spot}", "I wanted to [love|like] {+place}"
              "{has_place=yes}, I really did", "[Not the best, not the worst|Mixed feelings about this "
              "{category.spot}]"],
        "2": ["[Disappointing|Overrated|Not impressed] is the word for {+place}{has_place=yes}", "I expected [more|"
              "better|a lot more] from a {category.spot} in {+city}{has_city=yes}", "[Meh|Sad to write this|Not "
              "great]"],
        "1": ["[Worst|Easily the worst|Hands down the worst] {category.spot} in {+city}{has_city=yes}", "[Stay away "
        "from|"
              "Avoid|Do not go to|Run away from] {+place}{has_place=yes}", "[Never again|Save your money|Zero stars "
              "if I "
              "could|Where do I even start]"],
    }),
    "setup": [
        (3, "{sep}The place was [packed*3|pretty busy*3|slammed|half empty*2|almost empty|crowded*2] and we [waited*3|"
            "had to wait*2] {+minutes} minutes {wait_for}{has_wait=yes}."),
        (2, "{sep}We had {booked} but still [waited|sat around for|had to wait] {+minutes} "
            "minutes{has_wait=yes}."),
        (2, "{sep}{seated}"),
        (2, ""),
    ],
    "wait_for": By("kind", {"food": "[for a table*3|to be seated*2|for someone to greet us]",
                            "care": "[to be seen*2|to check in|for someone to greet us]"}),
    "booked": By("kind", {"food": "[a reservation*3|a table booked]", "care": "an appointment"}),
    "seated": By("has_size", {
        "yes": "They [had no trouble seating|seated*2|found room for] all {size} of us [right away*2|quickly|in the "
        "end|"
        "without complaint*0.5].",
        "no": "We were [greeted*2|seated|welcomed] [right away*3|quickly*2|within a minute|eventually*0.5] [by the "
        "{+role}|"
        "and shown around|at the door]."}),
    "ending": [
        (2, "{sep}{closing}{end}"),
        (2, "{sep}{last_word}{sep}{closing}{end}"),
        (1.5, "{sep}{closing}{end}{sep}{farewell}{end}"),
        (0.5, ""),
    ],
    "last_word": By("has_place", {
        "yes": ["As for {place}, {overall}.", "{place} [is|gets] {grade} from me.", "[Overall|All in all|Bottom line], "
                "{place} [was|is] {judged}.", "[Thank you|Thanks for reading|There you go], {place}."],
        "no": ["[Overall|All in all|Bottom line|In short], {overall}.", "[Two words|One word|In a word]: {judged}."]}),
    "overall": By("stars", {
        "5": "[we could not be happier*2|it does not get better than this|everything was perfect|I'm a fan for life]",
        "4": "[it was a very good experience*2|there is a lot to like|we left happy]",
        "3": "[it was fine but not memorable*2|I'm on the fence|it has potential]",
        "2": "[it was a letdown*2|I expected better|I don't get the hype]",
        "1": "[it was a complete waste of time*2|I want my money back|it was a nightmare]"}),
    "revisit": "{again}{went_again}",
    "again": "{sep}[Update:|Edit:|UPDATE:] [We came back*2|I came back*2|I went again|We gave it another try] [a "
    "week*2|a month*2|two "
    "weeks|a few days] later {by_size}and [tried|got] {+other.the}{instead}.",
    "by_size": By("has_size", {"yes": "[*2|without the other {size} ]", "no": ""}),
    "instead": "[*2| instead of {dish.the}]",
    "went_again": By("stars", {
        "5": "{sep}{other.It} {other.was} [just as good as|every bit as good as|even better than] "
        "{dish.the}{again_person}{end}",
        "4": "{sep}{other.It} {other.was} [almost as good as|about as good as|better than] "
        "{dish.the}{again_person}{end}",
        "3": "{sep}{other.It} {other.was} [not much better than|about the same as|a step up from] "
        "{dish.the}{again_person}.",
        "2": "{sep}{other.It} {other.was} [no better than|only slightly better than] {dish.the}{again_person}.",
        "1": "{sep}{other.It} {other.was} [even worse than|just as bad as] {dish.the}{again_person}, [never again|we "
        "give up]{end}"}),
    "again_person": By("has_person", {
        "yes": "[*2|, and {person} [was there again|was still there|recognized us|was gone]]", "no": ""}),
    "grade": By("stars", {"5": "[five stars*3|an A plus]", "4": "[four stars*3|a solid B]", "3": "[three stars*3|a C]",
                          "2": "[two stars*3|a D]", "1": "[one star*3|an F|zero stars if I could]"}),
    "judged": By("stars", {"5": "[excellent|amazing*2|perfect|wonderful]", "4": "[very good*2|solid|great|worth it]",
                           "3": "[okay*2|average*2|decent|fine]", "2": "[underwhelming*2|disappointing*2|mediocre]",
                           "1": "[terrible*2|horrible*2|awful|a joke]"}),
    "closing": By("stars", {
        "5": ["[We|I] will [definitely*2|absolutely|for sure] be back{back_with}", "[I|We] [can't wait|cannot wait] to "
              "come back{back_with}", "Highly recommend [{here}|asking for {dish.the}*1.5]", "You [have to|need to|"
              "must] "
              "try {dish.the} [at least once|here|next time you're in town]", "Do yourself a favor and get {dish.the}"],
        "4": ["[We|I] will [probably*2|likely|definitely] be back{back_with}", "I would [recommend|come back to] {here}"
              "[| for {dish.the}*2]", "[Worth a visit|Worth the trip|Worth it], especially for {dish.the}",
              "Solid four stars[| for {here}]"],
        "3": ["[I|We] might [give it another try|be back|come back]{back_with}", "[Maybe|Perhaps] I'll try something "
        "other "
              "than {dish.the} next time", "There are better [options|places] [around|in town|nearby]",
              "It's [okay|fine] if you're [nearby|in the area|not picky]"],
        "2": ["[I|We] [probably won't|don't think we'll|likely won't] be back{back_with}", "I [would not|wouldn't] "
        "order "
              "{dish.the} again", "[Too bad|Such a shame], because I wanted to like {here}", "There are [much|way] "
              "better "
              "places in town"],
        "1": ["[I|We] will never [come back|go back|return]{back_with}", "[Stay away|Avoid {here}|Do not waste your "
        "money "
              "here|Save your money]", "I [am never ordering|will not be paying for] {dish.the} [here|ever] again",
              "[Go somewhere else|Take your business elsewhere|Spend your money elsewhere]"],
    }),
    "back_with": [
        (3, ""), (1.5, By("has_who", {"yes": " with {who}", "no": " [soon|someday]"})),
        (1, By("has_event", {"yes": " for the next {event}", "no": ""})),
        (1, By("has_city", {"yes": " [the next time we're in|whenever I'm in] {city}", "no": ""})),
    ],
    "farewell": [
        (2, By("has_person", {
            "yes": By("service", {"love": "[Thank you|Thanks again|Thanks so much], {person}", "fine": "[Thanks|"
            "Cheers], "
                      "{person}", "bad": "[Do better|Good luck with that attitude|Learn some manners], {person}"}),
            "no": By("service", {"love": "Thank you to the [whole|entire] team", "fine": "[That's it|That is all]",
                                 "bad": "[Management, take note|Shame on the management]"})})),
        (1, By("stars", {"5": "[Five stars|Two thumbs up|See you soon|Keep it up]", "4": "[Four stars|Recommended|"
        "Good job]",
                         "3": "[Three stars|You decide|We'll see]", "2": "[Two stars|Sorry|Do better]",
                         "1": "[One star|You have been warned|Shame on you|Buyer beware]"})),
    ],
}

RECALL: dict[str, Rule] = {
    "recall": [(4, "{recall_dish}"), (3, "{recall_dish}{recall_who}"), (2, "{recall_who}{recall_dish}"),
               (2, "{recall_side}{recall_dish}"), (1.5, "{recall_who}{recall_side}")],
    "recall_dish": By("food", {
        "love": ["{sep}I'm still [thinking|dreaming|talking] about {dish.that}{end}", "{sep}I [would|could] come back "
        "just "
                 "for {dish.the}{end}", "{sep}[Seriously|Trust me|Believe me], {dish.the} {dish.is} [worth it*2|worth "
                 "the "
                 "drive|worth every penny*2|that good*2]{end}", "{sep}Nobody [does|makes] {dish.the} like {here}{end}"],
        "fine": ["{sep}{dish.The} could [use|have used] a little more [care*2|work|love], but {dish.it} {dish.was} "
                 "[acceptable|edible|good enough].", "{sep}[Not sure|I don't know if|I doubt] I would get {dish.the} "
                 "again.",
                 "{sep}I've had better {dish} [elsewhere*2|closer to home|for less money]."],
        "bad": ["{sep}I still can't believe [they charge money for {dish.that}|anyone would pay for {dish.that}]{end}",
                "{sep}[Whatever you do, don't get|Skip|Do yourself a favor and avoid] {dish.the}{end}",
                "{sep}[A child|Anyone|My dog] could [make|do] better than {dish.that}{end}",
                "{sep}I [asked for a refund on|complained about|sent back|refused to pay for] {dish.the} and [nobody "
                "cared|"
                "got a shrug|was ignored|got no apology]{end}"],
    }),
    "recall_who": By("has_who", {
        "yes": By("food", {
            "love": ["{sep}{who.cap} [was|is] [already planning our next visit|just as happy|hooked too|in "
            "heaven]{end}",
                     "{sep}Even {who}, who [hates everything|is so picky|never likes anything], [loved {dish.the}*3|"
                     "was "
                     "impressed]{end}", "{sep}{who.cap} said {who.he} [wants|would love] to come back for "
                     "{dish.the}{end}"],
            "fine": ["{sep}{who.cap} [thought it was okay too|was less forgiving|shrugged|felt the same way].",
                     "{sep}{who.cap} said {who.he} [liked {dish.the} more than I did|would give it another chance]."],
            "bad": ["{sep}{who.cap} [was furious|felt sick afterwards|couldn't believe it|was embarrassed for "
            "them]{end}",
                    "{sep}{who.cap} said {who.he} [would never set foot in here again|wanted to leave|regrets "
                    "coming]{end}"],
        }),
        "no": ["", "{aside}"]}),
    "recall_side": By("has_side", {
        "yes": By("food", {
            "love": "{sep}[Don't skip|Save room for|Make sure you get|And don't forget] {side.the}{end}",
            "fine": "{sep}[If anything, come for|I'd only come back for|At least I liked] {side.the}.",
            "bad": "{sep}[And|Oh, and] {side.the} {side.was} [no better|even worse|just as bad]{end}"}),
        "no": ""}),
    "facts": [
        (3, By("has_wait", {"yes": By("stars", {
            "1": "{sep}[Who waits|I can't believe I waited|We wasted] {minutes} minutes for [this|that]{end}",
            "2": "{sep}[Not worth|It was not worth] waiting {minutes} minutes.",
            "3": "{sep}[I'm not sure it was worth|Was it worth waiting] {minutes} minutes[.*2|?]",
            "4": "{sep}[It was worth|I didn't mind] the {minutes} minute wait{end}",
            "5": "{sep}I would [happily|gladly] wait {minutes} minutes [again|any day]{end}"}), "no": ""})),
        (2.5, By("has_price", {"yes": By("stars", {
            "1": "{sep}{price}, [can you believe it|what a rip off|what a joke]{end}",
            "2": "{sep}[Not worth|I wouldn't pay] {price}[ again|].", "3": "{sep}{price} [is a bit much|seems steep "
            "to me].",
            "4": "{sep}[Fair|Good value] for {price}{end}", "5": "{sep}{price} [well spent|and worth every "
            "cent]{end}"}),
            "no": ""})),
        (2, By("has_size", {"yes": "{sep}[All {size} of us|The {size} of us|Our table of {size}] [left*2|walked out|"
        "went home] "
                            "{feeling}{end}", "no": ""})),
        (2, By("has_event", {"yes": "{sep}[What a way to spend|So much for|We won't forget] {who.poss} "
        "{event}{end}", "no": ""})),
        (1.5, By("has_city", {"yes": "{sep}[There are better choices|You have other options|It's one of many] in "
        "{city}{end}", "no": ""})),
        (1.5, By("has_day", {"yes": "{sep}[Keep in mind|Granted], this was a {day}.", "no": ""})),
    ],
    "feeling": By("stars", {"5": "[stuffed and happy|happy*2|smiling|impressed]", "4": "[happy*2|satisfied*2|pleased]",
                            "3": "[satisfied|unsure|a little underwhelmed]", "2": "[disappointed*2|unimpressed|let "
                            "down]",
                            "1": "[angry*2|disgusted|disappointed|upset]"}),
}


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
