"use strict";
// What the page says, in its languages. {0}, {1}: what is put in.
const TEXTS = {
  en: {
    title: "Translate", surface: "Language of this page", dark: "Dark", key: "API key", keyUse: "Use it",
    keyNeeded: "This server asks for an API key.", from: "From", to: "To", swap: "Swap", copy: "Copy", copied: "Copied.",
    clear: "Clear", placeholder: "Write here. Each line is translated by itself.", auto: "Detect language",
    detected: "Detected: {0} ({1} %)", unsure: "Language unclear; taken as {0}", count: "{0} of {1} characters",
    working: "Translating …", done: "Translated.", failed: "Not translated: {0}", offline: "The server does not answer.",
    busy: "The server is busy; trying again in {0} s.", words: "Which word comes from which",
    wordsHint: "Point at a word, or move to it with Tab and the arrow keys.", notes: "Notes",
    alternatives: "Other translations", line: "Line {0}: ", confidence: "Confidence: {0} %",
    readAs: "“{0}” was read as “{1}”.", wordFrom: "{0}, from: {1}", wordFromNothing: "{0}, from no single word",
    loop: "A phrase is repeated more often than is plausible.", empty: "There is no translation.",
    untranslated: "The translation is the source.", "too short": "Far shorter than the source.",
    "too long": "Far longer than the source.", check: "Check this: {0}", terms: "Terms",
    termsHint: "One a line: term = translation. Capitals count where a term has some."
  },
  de: {
    title: "Übersetzen", surface: "Sprache dieser Seite", dark: "Dunkel", key: "API-Schlüssel", keyUse: "Verwenden",
    keyNeeded: "Dieser Server verlangt einen API-Schlüssel.", from: "Von", to: "Nach", swap: "Tauschen",
    copy: "Kopieren", copied: "Kopiert.", clear: "Leeren",
    placeholder: "Hier schreiben. Jede Zeile wird für sich übersetzt.", auto: "Sprache erkennen",
    detected: "Erkannt: {0} ({1} %)", unsure: "Sprache unklar; angenommen: {0}", count: "{0} von {1} Zeichen",
    working: "Wird übersetzt …", done: "Übersetzt.", failed: "Nicht übersetzt: {0}",
    offline: "Der Server antwortet nicht.", busy: "Der Server ist ausgelastet; neuer Versuch in {0} s.",
    words: "Welches Wort woher kommt",
    wordsHint: "Auf ein Wort zeigen, oder mit Tab und den Pfeiltasten hingehen.", notes: "Hinweise",
    alternatives: "Andere Übersetzungen", line: "Zeile {0}: ", confidence: "Zuversicht: {0} %",
    readAs: "„{0}“ wurde als „{1}“ gelesen.", wordFrom: "{0}, aus: {1}", wordFromNothing: "{0}, aus keinem einzelnen Wort",
    loop: "Eine Wendung steht öfter da, als glaubhaft ist.", empty: "Es gibt keine Übersetzung.",
    untranslated: "Die Übersetzung ist der Ausgangstext.", "too short": "Viel kürzer als der Ausgangstext.",
    "too long": "Viel länger als der Ausgangstext.", check: "Bitte prüfen: {0}", terms: "Begriffe",
    termsHint: "Einer je Zeile: Begriff = Übersetzung. Wo ein Begriff Großbuchstaben hat, zählen sie."
  },
  fr: {
    title: "Traduire", surface: "Langue de cette page", dark: "Sombre", key: "Clé d’API", keyUse: "Utiliser",
    keyNeeded: "Ce serveur demande une clé d’API.", from: "De", to: "Vers", swap: "Inverser", copy: "Copier",
    copied: "Copié.", clear: "Effacer", placeholder: "Écrivez ici. Chaque ligne est traduite séparément.",
    auto: "Détecter la langue", detected: "Langue détectée : {0} ({1} %)", unsure: "Langue incertaine ; supposée : {0}",
    count: "{0} caractères sur {1}", working: "Traduction en cours …", done: "Traduit.", failed: "Non traduit : {0}",
    offline: "Le serveur ne répond pas.", busy: "Le serveur est occupé ; nouvel essai dans {0} s.",
    words: "Quel mot vient d’où", wordsHint: "Pointez un mot, ou allez-y avec Tab et les flèches.", notes: "Remarques",
    alternatives: "Autres traductions", line: "Ligne {0} : ", confidence: "Confiance : {0} %",
    readAs: "« {0} » a été lu « {1} ».", wordFrom: "{0}, de : {1}", wordFromNothing: "{0}, d’aucun mot précis",
    loop: "Une expression est répétée plus que de raison.", empty: "Il n’y a pas de traduction.",
    untranslated: "La traduction est le texte source.", "too short": "Bien plus court que le texte source.",
    "too long": "Bien plus long que le texte source.", check: "À vérifier : {0}", terms: "Termes",
    termsHint: "Un par ligne : terme = traduction. Les majuscules comptent là où un terme en a."
  }
};
