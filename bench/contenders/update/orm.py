"""SQLAlchemy's ORM: objects by the thousand, and a flush for each thousand."""

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.contenders.given import engine_for


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    first_name: Mapped[str]
    last_name: Mapped[str]
    full_name: Mapped[str | None]


def migrate(url: str) -> None:
    with Session(engine_for(url)) as session:
        pending = sa.select(Person).where(Person.full_name.is_(None)).order_by(Person.id)
        for people in session.scalars(pending, execution_options={"yield_per": 1_000}).partitions():
            for person in people:
                person.full_name = f"{person.first_name} {person.last_name}".strip()
            session.flush()
        session.commit()
