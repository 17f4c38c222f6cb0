"""Words of asking: what builds a question, in many languages, and says nothing about its subject.

Short lists from common knowledge of each language: articles, pronouns, auxiliaries, question
words,
and what people wrap a question in ("do you remember what I said about …").
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from pmll_async.text.embedders.hashing import FUNCTION_WORDS
from pmll_async.text.index.spelling import lowered

_GREETINGS: Final = """
    bye cheers evening goodbye good hello hey hi morning night okay ok please sorry sure thank
    thanks yeah yes
"""
_ENGLISH: Final = """
    again anything forgot know mention mentioned recall remember remind said say something tell
    told
"""
_LISTED: Final[Mapping[str, str]] = {
    "de": """
        aber als also am an auf aus bei bin bist bitte da damit dann das dass dein deine dem den
        denn der des dich die dies diese dieser dieses dir doch du durch ein eine einem einen
        einer eines er es etwas euch für gerade gesagt erzählt erwähnt erinnerst erinnere erinnern
        hab habe haben hast hat hatte hallo ich ihm ihn ihr ihre im in ins ist ja jetzt kann
        kannst können könntest man mein meine meinem meinen meiner mich mir mit mal nach nicht
        noch nochmal nun nur ob oder sag sage sagen sagte sich sie sind so über um und uns unser
        unsere vom von vor war waren warum was weiß weißt welche welchem welchen welcher welches
        wem wen wenn wer wie wieso wir wird wo wohin woher worüber wurde wann zu zum zur
    """,
    "fr": """
        à ai as au aux avec avez avons bonjour c ça ce ces cet cette comment d dans de des dire
        dis dit du elle elles en encore est et être eu eux fait il ils j je l la le les leur lui m
        ma mais me mentionné merci mes moi mon n ne nos notre nous on ont ou où par parlé pas peux
        peut plaît pour pourquoi pourrais qu quand que quel quelle quelles quelqu quels qui quoi
        raconté rappeler rappelle rappelles s sa sais sait se ses s'il si son sont souviens sur t
        ta te tes toi ton tu un une va vos votre vous y était
    """,
    "es": """
        a acerca acuerdas al algo algún alguna como cómo con cuál cuáles cuándo cuando cuánto
        cuánta de decir del dice dicho dije dime dijo dónde donde el él ella en era eres es esa
        ese eso está están esta este esto fue ha has hay he hola la las le les lo los me mencioné
        mi mis mí mucho muy no nos o otra para pero por porque puedes podrías que qué quien quién
        quiénes recordar recuerda recuerdas sabes se ser si sobre son soy su sus te tiene tu tú un
        una uno vez y ya yo favor oye conté contado
    """,
    "pt": """
        a ao aos as às à com como da das de dela dele disse dizer do dos e é ela ele em era essa
        esse esta está este eu falei foi há já lembra lembrar lembras mais mas me mencionei meu
        meus minha minhas na nas no nos nós não o onde os ou para pela pelo pode podes poderia por
        porque quais qual quando quanto que quem sabe são se seu sobre sua te tem tu um uma você
        vocês olá favor contei
    """,
    "it": """
        a ai al alla alle anche c che chi ci ciao come con cosa cos da dal dalla de dei del della
        delle dello detto di dice dimmi do dove è e era gli ha hai ho i il in io l la le lei lo
        loro lui ma me mi mia mie miei mio ne nel nella noi non o per perché più può puoi potresti
        qual quale quali quando quanto quello questa questo raccontato ricordare ricordi sa sai se
        sei si sono su sua sul sulla suo ti tu tua tuo un una uno voi favore
    """,
    "nl": """
        aan al als bij dat de deze die dit een en er had heb hebben heeft herinner herinneren het
        hij hoe hun ik in is je jij jou kan kun kunt maar me mij mijn met naar niet nog nu of om
        ons onze ook op over te toen uit van vertelde verteld voor waar waarom wanneer wat weet
        welk welke wel wie wij zei zeggen gezegd zij zijn zo
    """,
    "tr": """
        acaba ama ben bana benim beni bir bu bunu da de dedim dedi demiştim diye en gibi hakkında
        hangi hatırla hatırlat hatırlıyor hangisi ile için kim kime kimin mi mı mu mü misin mısın
        musun müsün ne neden nerede nereye nasıl o olan onu onun söyle söyledim söylediğimi söyler
        lütfen var ve ya yok zaman biliyor nedir bizim senin sen siz biz
    """,
    "vi": """
        ai bao bạn biết bị các cái cho có của đã đâu đó được gì giờ hãy hỏi không khi là lại làm
        lúc mà một nào này nhé nhớ nói những ơi ở rằng sao sẽ tại tên thế thì tôi trong và về vì
        với xin nhắc kể anh em mình
    """,
    "pl": """
        a ale bo był była było być by ci co coś czego czemu czy czym dla do gdy gdzie go i ich ile
        im ja jak jaka jaki jakie jaką jego jej jest jestem już kiedy kogo kto komu która które
        który ma mam mi mnie moja moje moim mojego mojej możesz mój mówiłem mówiłam mówił na nas
        nie o od on ona oni ono pamiętasz po pod powiedz powiedziałem powiedziałam proszę przez
        przypomnij się są ta tak ten to ty tym w wiesz wspomniałem we z za ze że
    """,
    "ru": """
        а бы был была было были быть в вам вас во вы говорил говорила где да для до его ее ей если
        есть еще её ещё же за и из или им их к как какая какие какое какой каком когда кого кто
        кому куда ли меня мне мной могу можешь мое мой моего моей мои моя моё моём мы на над нам
        нас наш не него нет ни но ну о об он она они от откуда очень по помнишь почему пожалуйста
        при про привет рассказал рассказала рассказывал с сказал сказала скажи снова со так там
        твой тебе тебя то того тоже только том ты у уже упоминал что чтобы чей чем чём эта эти это
        этот я напомни напомнить знаешь зачем сколько
    """,
    "el": """
        αν από αυτά αυτό αυτός για γιατί δεν είδες είμαι είναι είπα είπε είχα ένα ένας εγώ εσύ
        ευχαριστώ η ήταν θα θυμάσαι και κάτι λένε με μας μη μην μια μου μπορείς να ξέρεις ο οι
        όταν ό,τι πες ποια ποιο ποιος ποιον πόσο πού που πότε πώς πως σε σου στη στην στο στον στα
        τα τη την της τι το τον του των χάρη παρακαλώ
    """,
    "ar": """
        أن أنا أنت أو أي أين إلى إن اسم الذي التي ان او اي اين الى تتذكر تذكر تعرف تعلم ثم حول
        ذكرت ذكرني ذلك سمحت على عن عند عندما عنه فضلك في قال قلت قل كان كانت كم كيف كل لا لك لكن
        لم لماذا لمن لي ما ماذا متى مع من منذ هذا هذه هل هم هنا هو هي و يا أخبرني أخبرتك لو مرحبا
        هناك
    """,
    "he": """
        אבל או אותו אותי אחר איך איפה אל אם אמרתי אמר אמרת אני אנחנו אתה את אתם בבקשה גם האם הוא
        היא היה היתה הם זה זאת זו זוכר זוכרת יודע יודעת יש כי כמה כן כמו לא לאן לי לך למה לנו מה
        מי מתי מאיפה סיפרתי על עם עוד פעם של שאני שלי שלך תגיד תזכיר קוראים
    """,
    "hi": """
        आप आपको इस उस उसका एक और कब कभी कर करके करो कहा कहाँ कहां का कि किस किसका किसने की कुछ के
        को कौन कौनसा क्या क्यों कृपया कैसे जब जी जो तक तुम तुम्हें तो था थी थे दो नहीं ने पर फिर
        बता बताओ बताया बताइए बारे भी मुझे में मेरा मेरी मेरे मैं मैंने यह याद ये रहा रही रहे वह वो
        से हम हमारा हमारे हमारी हाँ है हैं हुआ हुई हूँ हो होता दिलाओ नाम
    """,
    "ko": """
        나 나는 내 내가 너 너는 네 네가 다시 대해 대해서 대한 뭐 뭐가 뭐라고 뭐야 뭐예요 뭘 무엇
        무엇을 무엇이 무슨 어느 어디 어디에 어디서 어디야 어떤 어떻게
        언제 왜 누가 누구 누구의 이 그 저 것 수 좀 제 제가 우리 기억 기억나 기억나니 기억해
        기억하니 기억합니까 말했는지 말했지 말했어 말한 알려줘 알려주세요 알아
        있나요 있는지 있어 있어요 있습니까 했는지 했지 했어 이름 이름은 혹시 안녕
    """,
    "id": """
        ada adalah aku anda apa apakah atau bagaimana bahwa bisa bisakah dan dari dengan di dia
        dimana ingat ini itu juga kami kamu kapan kata katakan ke kenapa kepada kita ku lagi mana
        mereka mengapa oleh pada saya sebut sebutkan sudah tentang tidak tolong untuk yang
    """,
}
_CHINESE: Final = """
    你还记得 还记得 记得 我说过 说过 你能 能不能 可以 告诉我 告诉 提醒我 提醒一下 提醒 一下
    麻烦你 麻烦
    请问 请 什么时候 什么样 什么 哪里 哪儿 哪个 哪种 哪些 哪天 哪 为什么 怎么样 怎么 多少 几点 谁
    是不是
    有没有 关于 事情 的事 名字 东西 你好 谢谢 吗 呢 吧 啊 的 了 是 在 我们 我 你们 你 您 他们 他
    她 它
    这个 那个 和 有 都 也 就 把 被 还是 叫
"""
_JAPANESE: Final = """
    覚えていますか 覚えている 覚えてる 覚えて について 教えてください 教えて もう一度 すみません
    お願いします 言ったか 言いましたか 言った 言って 私が 私の 私は 私 あなた 何時 何を 何の 何が
    何か
    何ですか 何 いつ どこ だれ 誰が 誰 どう なぜ どんな どの どれ いくら ですか でした です
    ますか ました
    ません ます でしょう ありますか あります あり いますか います して した する しますか します
    こと
    ください するか ですね かな という 名前
"""
_THAI: Final = """
    จำได้ไหม จำได้ ช่วยบอก ช่วย บอก หน่อย เกี่ยวกับ อะไร ที่ไหน เมื่อไหร่ เมื่อไร วันไหน ไหน ใคร ทำไม
    อย่างไร ยังไง เท่าไหร่ ไหม หรือ คุณ ฉัน ผม ของ ว่า พูด ครับ ค่ะ คะ เป็น คือ ที่ ชื่อ กรุณา อีกครั้ง
"""
# Particles are parts of words elsewhere: only behind what is no hiragana.
_PARTICLES: Final = (
    "(?<=[\u30a0-\u30ff\u3400-\u9fff])(?:には|では|とは|から|まで|より|[はがをにでのともへやか])"
)


def _set(listed: str) -> frozenset[str]:
    return frozenset(map(lowered, listed.split()))


ENGLISH: Final = FUNCTION_WORDS | _set(_GREETINGS) | _set(_ENGLISH)
_BY_LANGUAGE: Final = (ENGLISH, *map(_set, _LISTED.values()))


def _alternatives() -> str:
    listed = f"{_CHINESE} {_JAPANESE} {_THAI}".split()
    # The longest first, as an alternative that matches ends the search.
    return "|".join(map(re.escape, sorted(map(lowered, listed), key=len, reverse=True)))


_UNSPACED: Final = re.compile(f"({_alternatives()}|{_PARTICLES})")


_LANGUAGES: Final = {
    word: [place for place, listed in enumerate(_BY_LANGUAGE) if word in listed]
    for word in frozenset().union(*_BY_LANGUAGE)
}


def says_nothing(words: Collection[str]) -> frozenset[str]:
    """The words of asking of the language that most of these words are of; English at first."""
    counts = [0] * len(_BY_LANGUAGE)
    for word in frozenset(words):
        for place in _LANGUAGES.get(word, ()):
            counts[place] += 1
    return _BY_LANGUAGE[counts.index(max(counts))]


def cut(piece: str) -> list[tuple[str, bool]]:
    """A piece without spaces, by what says something and what only asks, which is True."""
    parts = _UNSPACED.split(piece)
    return [(part, place % 2 == 1) for place, part in enumerate(parts) if part]
