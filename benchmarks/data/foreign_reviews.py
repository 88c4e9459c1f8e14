"""Provide sentences of reviews in other languages, to be planted among English reviews."""

from __future__ import annotations

FOREIGN = {
    "de": (
        "Das Essen kam schnell und war noch heiß.",
        "Die Bedienung hat uns den ganzen Abend übersehen.",
        "Für den Preis kann man wirklich nicht meckern.",
        "Der Fisch war leider völlig zerkocht.",
        "Wir kommen bestimmt bald mit Freunden wieder.",
        "Im Garten sitzt man auch im Sommer angenehm kühl.",
        "Ohne Reservierung bekommt man am Wochenende keinen Platz.",
        "Der Nachtisch war der beste Teil des Abends.",
        "Die Portionen sind groß, und der Koch versteht sein Handwerk.",
        "Das Zimmer war sauber, aber sehr laut.",
    ),
    "es": (
        "La comida llegó enseguida y estaba muy caliente.",
        "El camarero se olvidó de nosotros toda la noche.",
        "Por ese precio no se puede pedir más.",
        "El arroz estaba pasado y sin ningún sabor.",
        "Seguro que volveremos pronto con la familia.",
        "La terraza es tranquila y tiene mucha sombra.",
        "Hay que reservar con tiempo los fines de semana.",
        "El postre fue lo mejor de la cena.",
        "Las raciones son generosas y el cocinero sabe lo que hace.",
        "La habitación era limpia pero ruidosa.",
    ),
    "fr": (
        "Les plats sont arrivés vite et bien chauds.",
        "Le serveur nous a oubliés pendant toute la soirée.",
        "À ce prix-là on ne peut vraiment pas se plaindre.",
        "Le poisson était trop cuit et sans aucun goût.",
        "Nous reviendrons sûrement avec nos amis.",
        "La terrasse est calme et bien à l'ombre en été.",
        "Il faut réserver le samedi, sinon il n'y a plus de place.",
        "Le dessert était le meilleur moment du repas.",
        "Les portions sont copieuses et le cuisinier connaît son métier.",
        "La chambre était propre mais bruyante.",
    ),
}
