-- Invoices that are booked and not paid, with their age.
select
    i.account, i.id, i.invoice_number as number, i.invoice_date as day, i.due_on, i.department_id,
    i.invoicee_customer_type as customer_type, i.invoicee_customer_id as customer_id, i.invoicee_name as customer,
    i.deal_id, i.total_due_currency as currency, i.total_payable_amount as payable, i.total_due_amount as due,
    current_date - i.due_on as days_overdue,
    case
        when i.due_on is null then 'no due date'
        when current_date <= i.due_on then 'not due'
        when current_date - i.due_on <= 30 then '1 to 30 days'
        when current_date - i.due_on <= 60 then '31 to 60 days'
        when current_date - i.due_on <= 90 then '61 to 90 days'
        else 'over 90 days'
    end as age,
    i.on_hold_since, i.payment_reference, i.expected_payment_method_method as expected_payment_method, i._changed_at
from teamleader_views.invoices i
-- Before API version 2019-03-13 all that are no drafts are booked.
where i.status in ('outstanding', 'booked') and i.paid is not true
