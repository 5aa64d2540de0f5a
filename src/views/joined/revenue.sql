-- Invoices that are more than drafts, and credit notes with the opposite sign. A credit note has the deal, the project
-- and the subscription of the invoice that it names. Each join finds one row at most, so that nothing counts twice.
select
    i.account, i.id, 'invoice' as kind, i.invoice_number as number, i.invoice_date as day, i.status, i.paid,
    i.id as invoice_id, i.department_id, d.name as department, i.invoicee_customer_type as customer_type,
    i.invoicee_customer_id as customer_id, i.invoicee_name as customer, i.deal_id, s.responsible_user_id,
    nullif(concat_ws(' ', u.first_name, u.last_name), '') as responsible_user, i.project_type, i.project_id,
    i.subscription_id, i.total_tax_exclusive_currency as currency, i.total_tax_exclusive_amount as tax_exclusive,
    i.total_tax_inclusive_amount as tax_inclusive, i.total_payable_amount as payable,
    i.currency_exchange_rate_from as exchange_rate_from, i.currency_exchange_rate_to as exchange_rate_to,
    i.currency_exchange_rate_rate as exchange_rate, i._changed_at
from teamleader_views.invoices i
left join teamleader_views.departments d on d.account = i.account and d.id = i.department_id
left join teamleader_views.deals s on s.account = i.account and s.id = i.deal_id
left join teamleader_views.users u on u.account = s.account and u.id = s.responsible_user_id
where i.status is distinct from 'draft'
union all
select
    c.account, c.id, 'credit_note', c.credit_note_number, c.credit_note_date, c.status, c.paid, c.invoice_id,
    c.department_id, d.name, c.invoicee_customer_type, c.invoicee_customer_id, c.invoicee_name, i.deal_id,
    s.responsible_user_id, nullif(concat_ws(' ', u.first_name, u.last_name), ''), i.project_type, i.project_id,
    i.subscription_id, c.total_tax_exclusive_currency, -c.total_tax_exclusive_amount, -c.total_tax_inclusive_amount,
    -c.total_payable_amount, c.currency_exchange_rate_from, c.currency_exchange_rate_to,
    c.currency_exchange_rate_rate, c._changed_at
from teamleader_views.credit_notes c
left join teamleader_views.departments d on d.account = c.account and d.id = c.department_id
left join teamleader_views.invoices i on i.account = c.account and i.id = c.invoice_id
left join teamleader_views.deals s on s.account = i.account and s.id = i.deal_id
left join teamleader_views.users u on u.account = s.account and u.id = s.responsible_user_id
