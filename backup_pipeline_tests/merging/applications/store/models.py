"""As they are after the fifth migration."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


product_categories = sa.Table(
    "product_categories",
    Base.metadata,
    sa.Column("product_id", sa.ForeignKey("products.id"), primary_key=True),
    sa.Column("category_id", sa.ForeignKey("categories.id"), primary_key=True),
)


class Category(Base):
    __tablename__ = "categories"
    __table_args__ = (sa.UniqueConstraint("parent_id", "name", name="categories_name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("categories.id"))
    name: Mapped[str] = mapped_column(sa.String(40))
    parent: Mapped[Category | None] = relationship(remote_side=[id])


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(sa.String(20), unique=True)
    price: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2))
    stock: Mapped[int] = mapped_column(server_default="0")
    categories: Mapped[list[Category]] = relationship(secondary=product_categories, order_by=Category.name)


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(80), unique=True)
    referred_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("customers.id"))
    note: Mapped[str | None] = mapped_column(sa.Text)
    referred_by: Mapped[Customer | None] = relationship(remote_side=[id])
    orders: Mapped[list[Order]] = relationship(back_populates="customer", order_by="Order.created_at")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"))
    created_at: Mapped[datetime]
    total: Mapped[int]
    customer: Mapped[Customer] = relationship(back_populates="orders")
    lines: Mapped[list[Line]] = relationship(order_by="Line.place", cascade="all, delete-orphan")


class Line(Base):
    __tablename__ = "order_lines"
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    product_id: Mapped[int] = mapped_column(sa.ForeignKey("products.id"))
    copies: Mapped[int]
    product: Mapped[Product] = relationship()


class Coupon(Base):
    __tablename__ = "coupons"
    code: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"))
