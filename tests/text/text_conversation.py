"""A conversation of some sixty turns, with greetings, small talk and facts."""

from __future__ import annotations

from typing import Final

_MONDAY: Final = """
Ann: Hello!
Bob: Hi Ann, good morning! How are you?
Ann: I'm fine, thanks. How is it going?
Bob: Going well. What did you do at the weekend?
Ann: I went to Lisbon with my sister Judith for her fortieth birthday.
Bob: Lovely! Did you try the custard tarts?
Ann: Every day. We stayed in a small hotel near the river, the Belém Palace.
Bob: That sounds great. How did you get there?
Ann: By night train from Madrid, because Judith is afraid of flying.
Bob: Good for you. I have to look after the dog this week.
Ann: Oh, you have a dog? What is his name?
Bob: He is called Biscuit, a beagle, and he chews everything.
Ann: Ha, that is a good name.
Bob: Yes. He ate my passport on Thursday.
Ann: No! What will you do about Iceland then?
Bob: I ordered a new passport, and it should come before we fly in June.
Ann: Good. Say hello to Biscuit.
Bob: I will. Good night!
Ann: Good night, Bob.
"""
_WEDNESDAY: Final = """
Bob: Good evening, Ann.
Ann: Hi Bob, how are you doing?
Bob: Okay, a bit tired. I started pottery lessons with Marta on Tuesdays.
Ann: Pottery? How did that come about?
Bob: My doctor said that I should do something with my hands to sleep better.
Ann: And does it help?
Bob: A little. I made a blue bowl for my mother.
Ann: She will love it. I am reading a book on beekeeping at the moment.
Bob: Do you want to keep bees?
Ann: Two hives behind the greenhouse, if the neighbours agree.
Bob: Is your neighbour not allergic to bee stings?
Ann: That was Mr Olsen, and he moved to Bergen in March.
Bob: Then nothing stands in your way.
Ann: Only the price. A hive costs three hundred euros.
Bob: I could lend you some money.
Ann: You are kind, thank you. How is your mother?
Bob: Better, thanks. Her new hip is fine and she walks to the market again.
Ann: I am glad to hear that.
Bob: Thanks. See you on Friday?
Ann: Yes, see you!
"""
_FRIDAY: Final = """
Ann: Good morning, how is it going?
Bob: Good morning! Going well, thank you. And you?
Ann: Good. I sold the old Volvo to a student for nine hundred euros.
Bob: Really? How will you get to work now?
Ann: By bicycle. I found a green one at the flea market.
Bob: How far is it to the laboratory?
Ann: Eleven kilometres along the canal.
Bob: That is a good way to start a day.
Ann: Yes. And how is Biscuit?
Bob: He has to take tablets, because he swallowed a sock.
Ann: Poor dog. What does the vet say?
Bob: Doctor Fernandez says that it will come out by itself.
Ann: Let us hope so. Are you still vegetarian?
Bob: Since January, yes. I only miss the sausages of my uncle Tomas.
Ann: I can make you a mushroom stew on Sunday.
Bob: That would be great. What can I bring?
Ann: Bring the wine, the white one from the Moselle.
Bob: Good. Until Sunday then.
Ann: Until Sunday. Bye!
Bob: Bye, Ann.
"""


def _turns(session: str, lines: str) -> list[tuple[str, str, str]]:
    said = [line.split(": ", 1) for line in lines.strip().splitlines()]
    return [(session, speaker, text) for speaker, text in said]


TURNS: Final = [
    *_turns("monday", _MONDAY),
    *_turns("wednesday", _WEDNESDAY),
    *_turns("friday", _FRIDAY),
]
"""Session, speaker and text of each turn."""

GREETINGS: Final = (
    "Hello!",
    "Hi",
    "How are you?",
    "Good morning, how is it going?",
    "Good morning!",
    "Thank you, bye",
    "Good night",
)
QUESTIONS: Final = {
    "Where did Ann go for Judith's birthday?": "Lisbon",
    "Who is afraid of flying?": "Judith",
    "Which lessons did Bob start with Marta?": "pottery",
    "Where did Mr Olsen move?": "Bergen",
    "What did Ann get for the old Volvo?": "nine hundred",
}
"""Questions, and what is in the turn that answers."""
