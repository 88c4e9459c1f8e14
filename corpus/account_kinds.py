"""Name the kinds of entries of the account of the data: why records were taken out, repaired or noted."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Kind of an entry of the account; what it is about, such as the field, is the entry's `about`.

    The kinds of records in quarantine are the values of `reviewlm.corpus.schema.Reason`.
    """

    # Files that were looked for.
    MISSING_FILE = "missing file"
    """A link to nothing, a pipe or the like; about its name."""
    LINKED_FOLDER = "linked folder"
    """About its name."""
    OTHER_FORM = "other form"
    """A file that may hold reviews in a form that is not read."""
    NO_REVIEWS = "no reviews"
    """Files that do not look like reviews."""
    NO_FILE = "no file"
    """A link or a pipe in an archive; about its name."""
    NO_RECORDS = "no records"
    """An empty file."""

    # Records in quarantine.
    ENCODING = "encoding"
    MALFORMED = "malformed"
    NOT_A_RECORD = "not_a_record"
    MISSING_TEXT = "missing_text"
    WRONG_TYPE = "wrong_type"
    TOO_LONG = "too_long"
    BAD_STARS = "bad_stars"
    BAD_DATE = "bad_date"
    DUPLICATE_ID = "duplicate_id"
    UNREADABLE_FILE = "unreadable_file"

    # What the reading of a file has shown.
    FORGOTTEN = "forgotten"
    """Records of persons whom `home forget` has removed."""
    STAND_IN = "unknown value"
    """A value that stands for none, such as 0000-00-00; about the field."""
    NAN_IN_JSON = "NaN in JSON"
    NO_HEADER = "no header"
    """A table without a header, whose shape is known."""
    MONTH_FIRST = "month first"
    DAY_OR_MONTH = "day or month"
    """No date shows which is first."""
    DATES_AS_DAYS = "dates as days"
    """Numbers, as spreadsheets count them."""
    STARS_FROM_ZERO = "stars from 0"
    """Labels that are counted from 0 to 4."""
    FOLDER_WITHOUT_DAY = "folder without a day"
    OTHER_THAN_FOLDER = "other value than the folder"
    """About the field."""
    OTHER_SPELLING = "other spelling"
    """Of a field's name."""
    FIELDS_MISSING = "fields missing"
    """In all records of a file; about the fields."""
    FIELD_PARTLY_MISSING = "field partly missing"
    """In some records of a file; about the field."""

    # Texts that a program has damaged (`reviewlm.corpus.reading.odd_texts`).
    MOJIBAKE = "mojibake"
    REPLACEMENT_SIGNS = "lost characters"
    PYTHON_REPR = "Python notation"
    JSON_ESCAPES = "JSON escapes"
    EXCEL_ESCAPES = "Excel escapes"
    HTML_TAGS = "HTML tags"
    HTML_ENTITIES = "HTML entities"
    PREVIEWS = "previews"
    WORDS_FOR_NONE = "words for no text"
    SUMMARIES = "summaries"
    HEADERS = "column names"
    CUT_TEXTS = "cut texts"

    # Repeated ids and files.
    COPY_OF_FILE = "copy of a file"
    SAME_REVIEWS = "same reviews"
    """As another file, in another form."""
    SAME_RECORD = "same record"
    SAME_TEXT = "same text"
    """In ingestion of a record with the same id, in preparation in the same split; about the split."""
    OTHER_TEXT = "other text"
    """A newer record of the same id has another text."""
    SAME_TEXT_SAME_DATE = "same text, same date"
    OTHER_TEXT_SAME_DATE = "other text, same date"
    """The date does not show which record is newer."""
    ID_OF_ANOTHER = "id of another review"

    # Preparation; kinds about a split name the one that the review was drawn for.
    EMPTY_TEXT = "empty text"
    OTHER_LANGUAGE = "language not selected"
    """About the language."""
    IN_TEST = "same text in test"
    IN_VALIDATION = "same text in validation"
    NEARLY_IN_TEST = "nearly same text in test"
    NEARLY_IN_VALIDATION = "nearly same text in validation"
    COVERED = "passages of train"
    MORE_ALIKE = "too many copies"
    """More than the setting duplicates.max_alike allows."""
    LEARNT = "learnt by the start weights"
    LEARNT_PASSAGES = "passages learnt by the start weights"
    OFF_SCALE = "rating off the scale"
    NO_SPLIT_KEY = "nothing to split by"
    """About the field."""
    FAR_FROM_SHARE = "far from its share"
    """About the splits."""
    LARGE_GROUP = "large group"
    """It has more reviews than a split should."""
    CROWD = "crowd of copies"
    """About the text."""
    OTHER_RATINGS = "other ratings"
    """Of equal texts; whoever uses the stars looks for it."""

    # Reviews that a model knows.
    KNOWN_EDITED = "known reviews with another text"
    KNOWN_RERATED = "known reviews with another rating"
    KNOWN_RENAMED = "known texts with another id"

    # Labels of classifiers.
    NO_LABEL = "no learnt label"
    LABELS_ALIKE = "labels alike"
    """About the two labels."""

    UNNAMED = "of another version"
    """Of an entry that another version of the program has stored; about its kind there."""
