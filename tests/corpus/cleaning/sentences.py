"""Review-like sentences in fourteen languages, written for these tests."""

SENTENCES = {
    "en": [
        "The tacos were fresh and the salsa had a real kick.",
        "We waited forty minutes for a table and nobody said sorry.",
        "My husband loved the steak, but my salmon was dry.",
        "Great place for a quick lunch, and the staff is always friendly.",
    ],
    "es": [
        "Los tacos estaban muy ricos y la salsa picaba bastante.",
        "Esperamos cuarenta minutos por una mesa y nadie nos pidió perdón.",
        "A mi marido le encantó la carne, pero mi pescado estaba seco.",
        "Es un buen sitio para comer rápido y el personal es muy amable.",
    ],
    "fr": [
        "Les plats étaient délicieux et le serveur très attentionné.",
        "Nous avons attendu quarante minutes avant d'avoir une table.",
        "Mon mari a adoré la viande, mais mon poisson était trop cuit.",
        "C'est une bonne adresse pour déjeuner vite et pas cher.",
    ],
    "de": [
        "Das Essen war frisch und die Bedienung sehr freundlich.",
        "Wir haben vierzig Minuten auf einen Tisch gewartet.",
        "Meinem Mann hat das Steak geschmeckt, mein Fisch war leider trocken.",
        "Ein guter Laden für ein schnelles Mittagessen zu fairen Preisen.",
    ],
    "it": [
        "La pizza era buonissima e il cameriere molto gentile.",
        "Abbiamo aspettato quaranta minuti per un tavolo.",
        "A mio marito è piaciuta la carne, ma il mio pesce era troppo cotto.",
        "Un bel posto per pranzare in fretta senza spendere troppo.",
    ],
    "pt": [
        "A comida estava ótima e o atendimento foi muito simpático.",
        "Ficamos quarenta minutos à espera de uma mesa.",
        "O meu marido adorou a carne, mas o meu peixe estava seco.",
        "É um bom lugar para almoçar depressa e não é caro.",
    ],
    "nl": [
        "Het eten was vers en de bediening was erg vriendelijk.",
        "We hebben veertig minuten op een tafel moeten wachten.",
        "Mijn man vond het vlees heerlijk, maar mijn vis was te droog.",
        "Een fijne plek voor een snelle lunch tegen een eerlijke prijs.",
    ],
    "pl": [
        "Jedzenie było świeże, a obsługa bardzo miła.",
        "Czekaliśmy czterdzieści minut na wolny stolik.",
        "Mężowi smakowało mięso, ale moja ryba była za sucha.",
        "Dobre miejsce na szybki obiad w rozsądnej cenie.",
    ],
    "sv": [
        "Maten var god och personalen mycket trevlig.",
        "Vi fick vänta fyrtio minuter på ett ledigt bord.",
        "Min man tyckte om köttet, men min fisk var alldeles för torr.",
        "Ett bra ställe för en snabb lunch till ett rimligt pris.",
    ],
    "tr": [
        "Yemekler çok lezzetliydi ve garsonlar güler yüzlüydü.",
        "Bir masa için kırk dakika beklemek zorunda kaldık.",
        "Eşim eti çok beğendi ama benim balığım kuruydu.",
        "Hızlı bir öğle yemeği için güzel ve ucuz bir yer.",
    ],
    "ru": [
        "Еда была свежая, а официанты очень вежливые.",
        "Мы ждали свободный столик сорок минут.",
        "Мужу понравилось мясо, но моя рыба была сухая.",
        "Хорошее место для быстрого обеда за разумные деньги.",
    ],
    "ja": [
        "料理はとても美味しくて、店員さんも親切でした。",
        "席に着くまで四十分も待たされました。",
        "夫は肉料理を気に入りましたが、私の魚は少し固かったです。",
        "手頃な値段で早く昼食を食べられる良い店です。",
    ],
    "zh": [
        "这家店的菜很新鲜，服务员也很热情。",
        "我们等了四十分钟才有位子坐下来。",
        "我先生喜欢牛排，可是我的鱼太干了。",
        "午餐又快又便宜，是个不错的地方。",
    ],
    "ko": [
        "음식이 정말 맛있었고 직원들도 아주 친절했어요.",
        "자리가 나기까지 사십 분이나 기다려야 했습니다.",
        "남편은 고기를 좋아했지만 제 생선은 너무 말라 있었어요.",
        "저렴한 가격에 빨리 점심을 먹기 좋은 곳입니다.",
    ],
}
