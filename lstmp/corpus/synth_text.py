"""Draws the sentences of ``tiny`` from a small context-free grammar about a day at home, in town and on the road."""

from collections.abc import Iterable

import numpy as np

# Rule name → right-hand sides, separated by `|`. Names in capitals are rules; `*3` gives a right-hand side weight 3.
GRAMMAR = {
    "SENTENCE": "HOME *3 | WEATHER *2 | TRAIN *3 | SHOPPING *3 | STORY *5 | DIGITS *2 | MESSAGE *3 | PLAN *4 | FACT *3",
    "HOME": "turn on the DEVICE in the ROOM WHEN | turn off the DEVICE in the ROOM "
            "| please turn off every DEVICE at TIME | set the DEVICE in the ROOM to TENS percent "
            "| open the THING in the ROOM and close the THING | wake me up at TIME WHEN "
            "| start a timer for NUMBER minutes | is the DEVICE in the ROOM still on",
    "WEATHER": "what is the weather in CITY WHEN | will it be SKY in CITY WHEN "
               "| it was SKY and TEMPER in CITY on DAY | how TEMPER is it in CITY today "
               "| it will be TENS degrees and SKY on DAY",
    "TRAIN": "the train to CITY leaves at TIME from platform NUMBER | when is the next VEHICLE from CITY to CITY "
             "| book NUMBER tickets to CITY for DAY | the VEHICLE from CITY is NUMBER minutes late "
             "| take the VEHICLE to the PLACE and then walk north | you must change at CITY for the VEHICLE to CITY",
    "SHOPPING": "buy NUMBER AMOUNT of FOOD and NUMBER AMOUNT of FOOD | we need more FOOD and some FOOD for DINNER "
                "| add FOOD and FOOD to the shopping list | how much are NUMBER AMOUNT of FOOD at the PLACE "
                "| that comes to NUMBER pounds and TENS pence | there is no FOOD left in the ROOM",
    "STORY": "the ADJECTIVE ANIMAL MOVED PREPOSITION the ADJECTIVE THING "
             "| a ADJECTIVE PERSON MOVED PREPOSITION the PLACE | NAME saw a COLOUR ANIMAL PREPOSITION the PLACE "
             "| the PERSON found NUMBER COLOUR THINGS PREPOSITION the PLACE "
             "| my PERSON has a ADJECTIVE COLOUR THING | NAME and NAME MOVED PREPOSITION the PLACE WHEN "
             "| every PERSON in the PLACE knows the ADJECTIVE ANIMAL",
    "DIGITS": "my number is DIGIT DIGIT DIGIT DIGIT DIGIT DIGIT | the code for the THING is DIGIT DIGIT DIGIT DIGIT "
              "| dial DIGIT DIGIT DIGIT DIGIT DIGIT and ask for NAME | page TENS DIGIT of the COLOUR book",
    "MESSAGE": "call NAME at the PLACE WHEN | tell NAME that I will be there at TIME "
               "| send a message to NAME and NAME | ask my PERSON to bring the COLOUR THING "
               "| NAME called NUMBER times WHEN | did NAME answer the message from the PLACE",
    "PLAN": "let us meet NAME at the PLACE on DAY at TIME | WHO would like to VERB OBJECT WHEN "
            "| WHO must VERB OBJECT before DAY | remind me to VERB OBJECT on DAY | WHO could not VERB OBJECT WHEN "
            "| why did WHO VERB OBJECT",
    "FACT": "the month of MONTH has many ADJECTIVE days | MONTH is TEMPER in CITY | NUMBER and NUMBER make NUMBER "
            "| the THING is larger than the THING | our PERSON was born in MONTH "
            "| the PLACE is near the PLACE in CITY | the COLOUR THING belongs to NAME",
    "WHEN": "today | tomorrow | tonight | this morning | this evening | on DAY | next week | after DINNER",
    "TIME": "HOUR o'clock | HOUR thirty | half past HOUR | quarter to HOUR | HOUR fifteen | noon",
    "NUMBER": "DIGIT *3 | ten | eleven | twelve | thirteen | TENS | TENS DIGIT",
    "TENS": "twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety",
    "DIGIT": "zero | one | two | three | four | five | six | seven | eight | nine",
    "HOUR": "one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve",
    "DAY": "monday | tuesday | wednesday | thursday | friday | saturday | sunday",
    "MONTH": "january | february | march | april | may | june | july | august | september | october | november "
             "| december",
    "DINNER": "breakfast | lunch | dinner | supper",
    "DEVICE": "light | lamp | heater | radio | oven | fan | music | camera | television | washing machine",
    "ROOM": "kitchen | bedroom | bathroom | garden | garage | office | hall | living room | cellar",
    "CITY": "london | paris | boston | dublin | berlin | chicago | sydney | toronto | madrid | edinburgh",
    "SKY": "sunny | cloudy | rainy | windy | foggy | dry",
    "TEMPER": "warm | cold | hot | cool | mild",
    "VEHICLE": "train | bus | ferry | tram | plane",
    "PLACE": "station | market | museum | library | river | bridge | school | hospital | church | beach | forest "
             "| hotel | theatre | village | harbour",
    "AMOUNT": "bags | boxes | bottles | kilos | jars | slices",
    "FOOD": "bread | butter | cheese | milk | coffee | sugar | rice | apples | oranges | potatoes | onions "
            "| chicken | fish | honey | salt | tea | chocolate",
    "ADJECTIVE": "tall | young | small | huge | quiet | happy | clever | lazy | gentle | strange | famous | brave "
                 "| heavy",
    "COLOUR": "red | green | blue | yellow | white | black | brown | purple | golden",
    "ANIMAL": "cat | dog | horse | fox | bird | mouse | rabbit | bear | goose | sheep | tiger",
    "MOVED": "jumped | walked | waited | slept | danced | stood | travelled | vanished | worked",
    "PREPOSITION": "over | under | behind | beside | near | across | around",
    "PERSON": "brother | sister | teacher | doctor | farmer | sailor | neighbour | painter | child | judge",
    "NAME": "anna | peter | maria | thomas | sarah | george | oliver | julia | henry | alice",
    "THING": "door | window | chair | table | box | ladder | suitcase | bicycle | mirror | clock | piano | wall",
    "THINGS": "keys | coins | letters | shoes | stones | maps | pictures | feathers",
    "WHO": "I | you | we | they | NAME | my PERSON",
    "VERB": "visit | paint | photograph | describe | repair | measure | follow | forget | choose",
    "OBJECT": "the THING | the PLACE | the ANIMAL | a COLOUR THING | the THINGS | our ADJECTIVE PERSON",
}


def _parse(grammar: dict[str, str]) -> dict[str, tuple[list[list[str]], np.ndarray]]:
    """Parse the grammar: rule → (right-hand sides as lists of symbols, their probabilities)."""
    rules = {}
    for name, text in grammar.items():
        sides, weights = [], []
        for side in text.split("|"):
            symbols = side.split()
            weights.append(int(symbols.pop()[1:]) if symbols[-1].startswith("*") else 1)
            sides.append(symbols)
        rules[name] = sides, np.array(weights) / sum(weights)
    return rules


RULES = _parse(GRAMMAR)


def sentence(rng: np.random.Generator, symbol: str = "SENTENCE") -> list[str]:
    """Draw a sentence, in lower case except for `I`."""
    if symbol not in RULES:
        return [symbol]
    sides, weights = RULES[symbol]
    return [word for s in sides[rng.choice(len(sides), p=weights)] for word in sentence(rng, s)]


def vocabulary() -> list[str]:
    """All words of the grammar, sorted."""
    return sorted({s for sides, _ in RULES.values() for side in sides for s in side if s not in RULES})


def sentences(seed: int, n: int, *, avoid: Iterable[tuple[str, ...]] = (), unique: bool = True) -> list[list[str]]:
    """Draw ``n`` sentences of 4 to 14 words; none is in ``avoid``, and with ``unique`` none occurs twice."""
    rng = np.random.default_rng((seed, 0))
    drawn: list[list[str]] = []
    seen = set(avoid)
    while len(drawn) < n:
        words = sentence(rng)
        if 4 <= len(words) <= 14 and tuple(words) not in seen:
            drawn.append(words)
            if unique:
                seen.add(tuple(words))
    return drawn
