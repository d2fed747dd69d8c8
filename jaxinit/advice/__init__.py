"""Which initializer each parameter of a model should have, and why."""

from jaxinit.advice.globs import grouped as grouped
from jaxinit.advice.laws import Choice as Choice
from jaxinit.advice.recommendation import Recommendation as Recommendation
from jaxinit.advice.recommendation import Row as Row
from jaxinit.advice.recommendation import recommend as recommend
from jaxinit.advice.recommendation import recommended as recommended
from jaxinit.advice.roles import roles as roles
from jaxinit.advice.uses import Use as Use
